//! Configuration as its author sees it: what is accepted, and every word of what is not.

#![expect(clippy::panic, clippy::expect_used, reason = "a story that cannot go on must say so")]

mod ad_hoc;
mod api_keys;
mod forms;
mod integrations;
mod outgoing;
mod outside;
mod problems;
mod schedule;
mod slips;

use std::io;
use std::path::Path;

use callout::config::{Environment, Flags, Loaded, Overrides, Problem, Problems, parse};

/// Made for these tests with `openssl genrsa`; it opens nothing.
pub(crate) const TEST_ONLY_PRIVATE_KEY: &str = include_str!("../test_only_private_key.pem");

/// A file that is read as if it were `callout.yaml` in the folder `etc`, beside a good
/// `private.key`.
struct Story<'t> {
    text: &'t [u8],
    flags: Flags,
    environment: Vec<(&'t str, &'t str)>,
    key: &'t str,
}

impl<'t> Story<'t> {
    fn of(text: &'t str) -> Self {
        Self::of_bytes(text.as_bytes())
    }

    fn of_bytes(text: &'t [u8]) -> Self {
        Self { text, flags: Flags::default(), environment: Vec::new(), key: TEST_ONLY_PRIVATE_KEY }
    }

    fn with(mut self, name: &'t str, value: &'t str) -> Self {
        self.environment.push((name, value));
        self
    }

    fn with_flags(self, flags: Flags) -> Self {
        Self { flags, ..self }
    }

    fn with_key(self, key: &'t str) -> Self {
        Self { key, ..self }
    }

    fn read(self) -> Result<Loaded, Problems> {
        let environment: Environment = self.environment.into_iter().collect();
        let overrides = Overrides::new(&self.flags, &environment);
        let key = self.key;
        let read_file = move |path: &Path, n_bytes_max: usize| {
            if path == Path::new("etc/private.key") {
                Ok(key.bytes().take(n_bytes_max).collect())
            } else {
                Err(io::Error::from(io::ErrorKind::NotFound))
            }
        };
        parse(Path::new("etc/callout.yaml"), self.text, &overrides, &environment, &read_file)
    }

    #[track_caller]
    fn loaded(self) -> Loaded {
        match self.read() {
            Ok(loaded) => loaded,
            Err(problems) => panic!("should be read, but:\n{problems}"),
        }
    }

    /// The problems, one a line, without the file's name.
    #[track_caller]
    fn problems(self) -> String {
        match self.read() {
            Ok(_) => panic!("should be refused"),
            Err(problems) => problems.to_string().replace("etc/callout.yaml", "FILE"),
        }
    }

    /// The warnings, one a line, without the file's name.
    #[track_caller]
    fn warnings(self) -> String {
        let warnings = self.loaded().warnings;
        let lines: Vec<String> = warnings.iter().map(Problem::to_string).collect();
        lines.join("\n").replace("etc/callout.yaml", "FILE")
    }
}

/// A native file without a fault, which stories change.
const SOUND: &str = r#"
server: { listen: "127.0.0.1:9000", public_url: "https://callout.example.org" }
store: "memory:"
vonage:
  backend: messages
  application_id: 3f0c9d52-6b1e-4c7a-9d84-2b7e51a0c6f3
  private_key: private.key
  signature_secret: an-invented-secret-of-more-than-32-characters
  from: { messenger: "108450971234567", viber: "15263", sms: "447700900101", rcs: CalloutOps }
users:
  - name: Tony
    channels:
      - { type: messenger, id_num: "6542087712345678", expiry_time: 300 }
      - { type: sms, id_num: "447700900001" }
policies:
  - { name: default, users: [Tony], repeat: 1 }
"#;

/// The sound file with one piece of it replaced.
#[track_caller]
fn sound_but(piece: &str, replacement: &str) -> String {
    assert!(SOUND.contains(piece), "the sound file does not hold {piece:?}");
    SOUND.replacen(piece, replacement, 1)
}
