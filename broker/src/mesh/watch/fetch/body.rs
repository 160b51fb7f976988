//! A body that is decoded as it comes, and has an end.
//!
//! What counts is what comes out of the decoder: a few kilobytes that become gigabytes are cut off at the same size as any
//! other body, and never held beyond it.

use std::io::{self, Write};

use flate2::write::GzDecoder;

use super::FetchError;

/// Largest body, decoded.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Takes a body in.
pub(super) enum Body {
    Plain(Bounded),
    Gzip(Box<GzDecoder<Bounded>>),
}

impl Body {
    /// For a body of this `Content-Encoding`.
    pub(super) fn encoded(encoding: Option<&str>) -> Result<Self, FetchError> {
        match encoding.map(str::trim) {
            None | Some("" | "identity") => Ok(Self::Plain(Bounded::default())),
            Some(gzip) if gzip.eq_ignore_ascii_case("gzip") || gzip.eq_ignore_ascii_case("x-gzip") => {
                Ok(Self::Gzip(Box::new(GzDecoder::new(Bounded::default()))))
            }
            Some(_) => Err(FetchError::Encoding("one that was not asked for".to_owned())),
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        let (taken, over) = match self {
            Self::Plain(bounded) => (bounded.write_all(bytes), bounded.over),
            Self::Gzip(decoder) => (decoder.write_all(bytes), decoder.get_ref().over),
        };
        taken.map_err(|error| failure(over, &error))
    }

    pub(super) fn finish(self) -> Result<Vec<u8>, FetchError> {
        match self {
            Self::Plain(bounded) => Ok(bounded.bytes),
            Self::Gzip(mut decoder) => {
                let finished = decoder.try_finish();
                let over = decoder.get_ref().over;
                finished.map_err(|error| failure(over, &error))?;
                Ok(std::mem::take(&mut decoder.get_mut().bytes))
            }
        }
    }
}

fn failure(over: bool, error: &io::Error) -> FetchError {
    if over { FetchError::TooLarge } else { FetchError::Encoding(error.to_string()) }
}

/// Bytes up to the bound.
#[derive(Default)]
pub(super) struct Bounded {
    bytes: Vec<u8>,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > MAX_BODY_BYTES {
            self.over = true;
            return Err(io::Error::other("too large"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
