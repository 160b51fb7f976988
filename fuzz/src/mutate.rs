//! Inputs made of others, the same for the same seed.

/// Pieces that readers look for.
const PIECES: &[&[u8]] = &[
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-0",
    b"1e999",
    b"0x1",
    b"\"type\":\"hello\"",
    b"\"type\":\"send\"",
    b"\"_reqId\":\"r\"",
    b"\"_reqId\":5",
    b"\xe2\x80\xae",
    b"\xff",
    b"#",
    b"ic://join/",
    b"\x81\x7e",
    b"\x00\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"[[[[[[[[[[[[[[[[",
    b"\"a\":{\"a\":{",
];
/// Longest input.
const BYTES: usize = 16 * 1024;

/// A row of them.
#[derive(Debug, Clone)]
pub struct Mutations<'a> {
    state: u64,
    from: &'a [Vec<u8>],
}

impl<'a> Mutations<'a> {
    /// Of these, of which there has to be one.
    #[must_use]
    pub fn of(from: &'a [Vec<u8>], seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, from }
    }

    /// Below a bound above 0.
    fn below(&mut self, bound: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let (one, other) = (self.below(bytes.len() + 1), self.below(bytes.len() + 1));
        one.min(other)..one.max(other)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.below(input.len() + 1);
        match self.below(6) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => drop(input.remove(at)),
            2 => {
                let range = self.range(input);
                // A little at a time: what is left should still look like something.
                let end = range.end.min(range.start + 8);
                drop(input.drain(range.start..end));
            }
            3 => {
                let other = &self.from[self.below(self.from.len())];
                let range = self.range(other);
                let piece = other[range].to_vec();
                drop(input.splice(at..at, piece));
            }
            4 => {
                let range = self.range(input);
                let piece = input[range].to_vec();
                drop(input.splice(at..at, piece));
            }
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                drop(input.splice(at..at, piece.iter().copied()));
            }
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut input = self.from[self.below(self.from.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input);
        }
        input.truncate(BYTES);
        Some(input)
    }
}
