# A git server that serves repositories to whoever shows a token. Words: the folder of the repositories, a file with key
# and certificate, a log. Standard input: the token, and where to send what is asked for below /moved/. It prints its port.
#
# It notes what each request showed, and every process of this machine whose words or environment hold the token then.
import base64, glob, http.server, os, ssl, subprocess, sys, urllib.parse
root, pem, log = sys.argv[1:4]
token, beyond = sys.stdin.readline().split()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.0'
    def note(self, line):
        with open(log, 'a') as file: file.write(line + '\n')
    def answer(self, status, headers=(), body=b''):
        self.send_response(status)
        for name, value in [*headers, ('Content-Length', str(len(body)))]: self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
    def any(self):
        for path in glob.glob('/proc/[0-9]*/cmdline') + glob.glob('/proc/[0-9]*/environ'):
            try:
                if token.encode() in open(path, 'rb').read(): self.note('SEEN ' + path)
            except OSError: pass
        shown = self.headers.get('Authorization')
        self.note(f'ASKED {self.path} {shown}')
        url = urllib.parse.urlsplit(self.path)
        if url.path.startswith('/moved/'):
            return self.answer(302, [('Location', beyond + self.path.replace('/moved/', '/', 1))])
        if shown != 'Basic ' + base64.b64encode(b'x-access-token:' + token.encode()).decode():
            return self.answer(401, [('WWW-Authenticate', 'Basic realm="mesh"')], f'wrong: {shown} {token}'.encode())
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        env = {'GIT_PROJECT_ROOT': root, 'GIT_HTTP_EXPORT_ALL': '1', 'PATH_INFO': url.path, 'QUERY_STRING': url.query,
               'REQUEST_METHOD': self.command, 'CONTENT_TYPE': self.headers.get('Content-Type') or '',
               'HTTP_CONTENT_ENCODING': self.headers.get('Content-Encoding') or '', 'PATH': os.environ['PATH'],
               'GIT_PROTOCOL': self.headers.get('Git-Protocol') or '', 'HOME': root}
        done = subprocess.run(['git', 'http-backend'], input=body, env=env, stdout=subprocess.PIPE)
        head, _, rest = done.stdout.partition(b'\r\n\r\n')
        headers = [tuple(line.split(': ', 1)) for line in head.decode().split('\r\n')]
        status = [int(value.split()[0]) for name, value in headers if name == 'Status'] or [200]
        self.answer(status[0], [pair for pair in headers if pair[0] != 'Status'], rest)
    do_GET = do_POST = any
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(pem)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
