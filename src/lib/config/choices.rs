//! Settings that take one of a few words.

use std::fmt;
use std::str::FromStr;

/// A text that is none of the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", words.join(", "))]
pub struct ChoiceError {
    words: Vec<&'static str>,
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Its word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = ChoiceError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(ChoiceError { words: vec![$($word),+] }),
                }
            }
        }
    };
}

choice!(
    /// The least severe messages that are written; ordered from the most severe.
    LogLevel {
        /// What failed
        Error = "error",
        /// What should be mended
        Warn = "warn",
        /// What is being done
        Info = "info",
        /// How it is being done
        Debug = "debug",
        /// Every detail
        Trace = "trace",
    }
);

choice!(
    /// The form of messages.
    LogFormat {
        /// Lines for people
        Text = "text",
        /// One JSON object a line
        Json = "json",
    }
);

choice!(
    /// How the server makes the checkpoint that a base backup starts from.
    CheckpointMode {
        /// Over time, sparing the server's disks
        Spread = "spread",
        /// At once
        Fast = "fast",
    }
);

choice!(
    /// How the files of a base backup are read.
    BackupMethodChoice {
        /// Directly where that is possible, else by streaming
        Auto = "auto",
        /// In the data directory, on this host
        Direct = "direct",
        /// By the server, which sends them
        Stream = "stream",
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum as _;

    #[test]
    fn words_are_the_same_in_files_and_on_the_command_line() {
        for level in LogLevel::value_variants() {
            assert_eq!(level.to_possible_value().unwrap().get_name(), level.as_str());
            assert_eq!(level.as_str().parse::<LogLevel>().unwrap(), *level);
        }
        assert_eq!("fast".parse(), Ok(CheckpointMode::Fast));
        assert_eq!("xml".parse::<LogFormat>().unwrap_err().to_string(), "expected one of text, json");
    }

    #[test]
    fn levels_are_ordered_from_the_most_severe() {
        assert!(LogLevel::Error < LogLevel::Warn && LogLevel::Info < LogLevel::Trace);
    }
}
