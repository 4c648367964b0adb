//! What a program prints, line by line, as it does.

use std::io::{BufRead, BufReader, Read};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::PATIENCE;

/// The lines that a program prints and nobody has looked at.
pub(crate) struct Lines(UnboundedReceiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (lines, told) = unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                // The test may be over.
                let _told = lines.send(line.unwrap());
            }
        });
        Self(told)
    }

    /// The next one, until there is none any more.
    pub(crate) async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }

    /// The next line that holds these words.
    pub(crate) async fn says(&mut self, words: &str) -> String {
        let mut so_far = Vec::new();
        let read = async {
            while let Some(line) = self.next().await {
                if line.contains(words) {
                    return Some(line);
                }
                so_far.push(line);
            }
            None
        };
        let line = tokio::time::timeout(PATIENCE, read).await;
        let Ok(Some(line)) = line else { panic!("{words:?} was never said, only:\n{}", so_far.join("\n")) };
        line
    }
}
