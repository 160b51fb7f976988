//! How the messages of a side are listed once.

/// An enum of messages by their `type`: the variant, what it carries, the word.
macro_rules! messages {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])+ $variant:ident $(($body:ty))? = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Serialize)]
        #[serde(tag = "type")]
        pub enum $name<'a> {
            $($(#[$doc])+ #[serde(rename = $word)] $variant $(($body))?,)+
        }

        impl<'a> $name<'a> {
            /// Every `type`.
            pub const TYPES: &'static [&'static str] = &[$($word),+];

            /// Reads the message of a type; none if there is no such type.
            pub(super) fn read(kind: &str, text: &'a str) -> Option<Result<Self, serde_json::Error>> {
                Some(match kind {
                    $($word => messages!(@read text $variant $($body)?),)+
                    _ => return None,
                })
            }

            /// The message's `type`.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(messages!(@pattern $variant $($body)?) => $word,)+
                }
            }
        }
    };
    (@read $text:ident $variant:ident $body:ty) => {
        serde_json::from_str::<$body>($text).map(Self::$variant)
    };
    (@read $text:ident $variant:ident) => {
        serde_json::from_str($text).map(|$crate::wire::Nothing {}| Self::$variant)
    };
    (@pattern $variant:ident $body:ty) => {
        Self::$variant(_)
    };
    (@pattern $variant:ident) => {
        Self::$variant
    };
}
pub(super) use messages;
