#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const TOKEN: &str = "a-token-that-is-long-enough-for-both";

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let home = ("HOME", "/home/x");
    [home].iter().chain(pairs).map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn from_env(pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(&Overrides::default(), &env(pairs), None)
}

fn from_text(text: &str) -> Result<Config, ConfigError> {
    Config::load(&Overrides::default(), &env(&[]), Some(file(text).path()))
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = from_env(&[]).unwrap();
    assert_eq!(
        config.print(),
        "[broker]\n\
         listen = \"127.0.0.1:7900\"\n\
         data_dir = \"/home/x/.local/share/claudemesh\"\n\
         database_url = \"(not set)\"\n\
         runner_urls = []\n\
         runner_token = \"(not set)\"\n\
         encryption_key = \"(not set)\"\n\
         operator_token = \"(not set)\"\n\
         max_connections_per_mesh = 2000\n\
         max_message_bytes = 1048576\n\
         max_services_per_mesh = 20\n\
         watch_allow = []\n\
         watch_min_interval_ms = 5000\n\
         behind_proxy = false\n"
    );
}

#[test]
fn later_layers_win_setting_by_setting() {
    let file = file(
        "[broker]\nlisten = \"[::1]:1\"\ndata_dir = \"/file\"\nmax_services_per_mesh = 5\n\
         runner_urls = [\"unix:/a,b\", \"ws://h:1\"]\nrunner_token = \"from-the-file-with-32-characters\"\n\
         [runner]\nanything = 1\n",
    );
    let env = env(&[
        ("BROKER_PORT", "2"),
        ("CLAUDEMESH_DATA_DIR", "/env"),
        ("DATABASE_URL", "postgres://env@h/d"),
        ("RUNNER_TOKEN", TOKEN),
        ("MAX_MESSAGE_BYTES", ""),
    ]);
    let database_url = Some(SecretString::from("postgres://flag@h/d"));
    let flags = Overrides { data_dir: Some(PathBuf::from("/flag")), database_url, ..Overrides::default() };
    assert!(!format!("{flags:?}").contains("flag@h"), "an address may hold a password");
    let config = Config::load(&flags, &env, Some(file.path())).unwrap();
    assert_eq!(config.listen, "[::1]:2".parse().unwrap());
    assert_eq!(config.data_dir, Path::new("/flag"));
    assert_eq!(config.database_url.unwrap().to_string(), "postgres://flag@h/d");
    assert_eq!(config.max_services_per_mesh, 5);
    assert_eq!(config.runner_token.unwrap().expose(), TOKEN);
    assert_eq!(config.runner_urls[0], RunnerUrl::Unix("/a,b".into()));
    assert_eq!(config.max_message_bytes, MAX_MESSAGE_BYTES, "an empty variable says nothing");
}

#[test]
fn an_unknown_key_is_named_wherever_it_stands() {
    for (text, key) in [
        ("[broker]\nlissten = \"127.0.0.1:1\"\n", "broker.lissten"),
        ("listen = \"127.0.0.1:1\"\n", "listen"),
        ("[brokker]\n", "brokker"),
    ] {
        match from_text(text).unwrap_err() {
            ConfigError::UnknownKey { key: named, .. } => assert_eq!(named, key),
            other => panic!("{other}"),
        }
    }
    let error = from_env(&[("BROKER_ENCRYPTON_KEY", KEY)]).unwrap_err();
    assert!(matches!(&error, ConfigError::UnknownKey { key, .. } if key == "BROKER_ENCRYPTON_KEY"));
    assert!(!error.to_string().contains(KEY));
}

#[test]
fn a_value_that_is_not_taken_names_its_setting_and_where_it_was_said() {
    for (name, value, key) in [
        ("BROKER_PORT", "127.0.0.1:1", "listen"),
        ("BROKER_PORT", "65536", "listen"),
        ("BROKER_ENCRYPTION_KEY", "abc", "encryption_key"),
        ("BROKER_ENCRYPTION_KEY", &KEY.replace('f', "g"), "encryption_key"),
        ("RUNNER_TOKEN", "short", "runner_token"),
        ("CLAUDEMESH_OPERATOR_TOKEN", "thirty-two characters and a space", "operator_token"),
        ("DATABASE_URL", "mysql://h/d", "database_url"),
        ("DATABASE_URL", "postgres://u@h/d?sslmode=prefer", "database_url"),
        ("RUNNER_URL", "unix:/a,nonsense", "runner_urls"),
        ("RUNNER_URL", "unix:/a,unix:/a", "runner_urls"),
        ("MAX_SERVICES_PER_MESH", "0", "max_services_per_mesh"),
        ("MAX_MESSAGE_BYTES", "1e6", "max_message_bytes"),
        ("MAX_CONNECTIONS_PER_MESH", "-1", "max_connections_per_mesh"),
        ("CLAUDEMESH_WATCH_ALLOW", "10.0.0.0/8,localhost", "watch_allow"),
        ("CLAUDEMESH_WATCH_MIN_INTERVAL_MS", "0", "watch_min_interval_ms"),
    ] {
        match from_env(&[(name, value)]).unwrap_err() {
            ConfigError::Invalid { key: named, origin, .. } => {
                assert_eq!(named, key);
                assert_eq!(origin, Origin::Environment(name.to_owned()));
            }
            other => panic!("{name}={value}: {other}"),
        }
    }
    for text in ["listen = 7900", "listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]", "behind_proxy = 1"] {
        let error = from_text(&format!("[broker]\n{text}\n")).unwrap_err();
        assert!(matches!(error, ConfigError::Invalid { .. }), "{text}: {error}");
    }
}

#[test]
fn a_syntax_error_gives_the_line_and_not_its_content() {
    let error = from_text("[broker]\n\nrunner_token = hunter2-hunter2-hunter2\n").unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { line: 3, .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2-hunter2-hunter2"), "{error:?}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let error = Config::load(&Overrides::default(), &env(&[]), Some(Path::new("/nonexistent"))).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }));
}

#[test]
fn plain_traffic_does_not_leave_the_machine() {
    for listen in ["0.0.0.0:7900", "[::]:7900", "192.168.1.1:7900", "[::ffff:10.0.0.1]:7900"] {
        let listen = Some(listen.to_owned());
        let mut flags = Overrides { listen, ..Overrides::default() };
        let error = Config::load(&flags, &env(&[]), None).unwrap_err();
        assert!(matches!(error, ConfigError::Exposed(_)), "{error}");
        flags.behind_proxy = true;
        Config::load(&flags, &env(&[]), None).unwrap();
    }
    for listen in ["127.0.0.2:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        let flags = Overrides { listen: Some(listen.to_owned()), ..Overrides::default() };
        Config::load(&flags, &env(&[]), None).unwrap();
    }
}

#[test]
fn a_runner_on_the_network_needs_a_token() {
    let error = from_env(&[("RUNNER_URL", "unix:/a, ws://h:1")]).unwrap_err();
    assert!(matches!(error, ConfigError::Needed { key: "runner_token", .. }), "{error}");
    from_env(&[("RUNNER_URL", "ws://h:1"), ("RUNNER_TOKEN", TOKEN)]).unwrap();
    from_env(&[("RUNNER_URL", "unix:/a")]).unwrap();
}

#[test]
fn without_a_home_the_data_directory_must_be_said() {
    let error = Config::load(&Overrides::default(), &BTreeMap::new(), None).unwrap_err();
    assert!(matches!(error, ConfigError::Needed { key: "data_dir", .. }), "{error}");
}

#[test]
fn no_print_shows_a_secret() {
    let config = from_env(&[
        ("RUNNER_TOKEN", "runner-runner-runner-runner-runner"),
        ("BROKER_ENCRYPTION_KEY", KEY),
        ("DATABASE_URL", "postgres://ada:hunter2@h/d"),
        ("CLAUDEMESH_OPERATOR_TOKEN", "operator-operator-operator-operator"),
    ])
    .unwrap();
    for shown in [config.print(), format!("{config:?}"), format!("{config:#?}")] {
        for secret in ["runner-runner", KEY, "hunter2", "operator-operator-operator-operator"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn what_is_printed_can_be_read_but_for_the_secrets() {
    let config = from_env(&[
        ("MAX_SERVICES_PER_MESH", "7"),
        ("RUNNER_URL", "unix:/a\"b"),
        ("DATABASE_URL", "postgres://u@h:5433/d?sslrootcert=/ca.pem"),
    ])
    .unwrap();
    let text: String =
        config.print().lines().filter(|line| !line.contains("(not set)")).flat_map(|l| [l, "\n"]).collect();
    assert_eq!(from_text(&text).unwrap(), config);
}

#[test]
fn tokens_nobody_configured_are_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let configured =
        from_env(&[("CLAUDEMESH_DATA_DIR", dir.path().to_str().unwrap()), ("CLAUDEMESH_OPERATOR_TOKEN", TOKEN)])
            .unwrap();
    let mut first = configured.clone();
    first.fill_embedded_secrets().unwrap();
    assert_eq!(first.operator_token.as_ref().unwrap().expose(), TOKEN);
    assert_eq!(first.runner_token.as_ref().unwrap().len(), TOKEN_BYTES * 2);
    assert!(!dir.path().join(OPERATOR_TOKEN_FILE).exists());
    let mut second = configured;
    second.fill_embedded_secrets().unwrap();
    assert_eq!(first, second);
}
