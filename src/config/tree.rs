//! The text of a configuration as a tree in which each value knows where it stands.
//!
//! YAML and JSON are read by the one YAML parser. A value stays the text that was written:
//! `0044700000` is not a number and `no` is not a boolean until the reader of that key says so.
//! `${NAME}` is replaced here, so that no reader can forget it.
//!
//! The tree is bounded in bytes, depth and number of values (aliases are counted each time they are
//! used), because a file that somebody generated wrongly must give an error and not eat the memory.
//! Tags of one's own and merge keys mean nothing here.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{ErrorKind, Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use super::environment::{Environment, expand};
use super::problem::{Place, Report, quoted};

/// The most bytes of a configuration file. Five hundred users with twenty channels each need a
/// quarter of it.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// How deep lists and mappings may stand in each other.
pub const DEPTH_MAX: usize = 32;
/// The most values of a file, those that aliases repeat included.
pub const VALUES_MAX: usize = 100_000;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`: as if the key were not there.
    Null,
    /// A text, a number or a word.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file; no key stands twice.
    Map(Vec<Entry>),
    /// Something that has been complained about already.
    Reported,
}

/// A text, a number or a word, after `${NAME}` was replaced.
#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub(super) text: Box<str>,
    /// As it stands in the file, with `${NAME}`; this is what a message may show.
    pub(super) written: Box<str>,
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: Box<str>,
    pub(super) key_place: Place,
    pub(super) node: Node,
}

/// Reads a file. `None` when it cannot be read at all; why is in the report then.
pub(super) fn read(bytes: &[u8], environment: &Environment, report: &mut Report) -> Option<Node> {
    if bytes.len() > FILE_BYTES_MAX {
        report.error(Place::File, format!("is larger than {} KiB", FILE_BYTES_MAX / 1024));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let place = place_after(bytes.get(..error.valid_up_to()).unwrap_or_default());
            report.error_with_hint(place, "is not UTF-8", Some("save the file as UTF-8".into()));
            return None;
        }
    };
    let text = &with_memory_in_quotes(text);
    let mut builder = Builder { environment, frames: Vec::new(), anchors: BTreeMap::new(), n_values: 0, root: None };
    match builder.run(text, report) {
        Ok(()) => {}
        Err(Stop::Syntax(error)) => {
            let hint = syntax_hint(text, &error);
            report.error_with_hint(place_of(error.marker()), syntax_message(&error), hint);
            return None;
        }
        Err(Stop::Bound(place, message)) => {
            report.error(place, message);
            return None;
        }
    }
    if builder.root.is_none() {
        report.error(Place::Spot { line: 1, column: 1 }, "the file is empty");
    }
    builder.root
}

/// Puts quotes around the value of `store: memory:`, which is how people write it and how this
/// project's own documents do, though YAML takes the last colon for a second mapping. Only a line
/// at the margin is touched; no text of another value can stand there.
fn with_memory_in_quotes(text: &str) -> Cow<'_, str> {
    let is_meant = |line: &str| {
        let value = line.strip_prefix("store:").and_then(|rest| rest.trim_start().strip_prefix("memory:"));
        value.is_some_and(|behind| behind.trim().is_empty() || behind.trim_start().starts_with('#'))
    };
    if !text.lines().any(is_meant) {
        return Cow::Borrowed(text);
    }
    let lines = text.split_inclusive('\n');
    lines
        .map(|line| if is_meant(line) { line.replacen("memory:", "\"memory:\"", 1) } else { line.to_owned() })
        .collect()
}

fn place_of(marker: &Marker) -> Place {
    Place::Spot { line: marker.line().max(1), column: marker.col().saturating_add(1) }
}

fn place_after(valid: &[u8]) -> Place {
    let valid = String::from_utf8_lossy(valid);
    let line = valid.split('\n').count();
    let column = valid.rsplit('\n').next().unwrap_or_default().chars().count();
    Place::Spot { line, column: column.saturating_add(1) }
}

fn syntax_message(error: &ScanError) -> String {
    format!("cannot be read as YAML or JSON: {}", error.kind())
}

fn syntax_hint(text: &str, error: &ScanError) -> Option<Box<str>> {
    let line = text.lines().nth(error.marker().line().saturating_sub(1))?;
    if *error.kind() == ErrorKind::UnknownAnchor {
        Some("a value that begins with `*` must stand in quotes".into())
    } else if line.contains("${") {
        Some("inside braces or brackets `${NAME}` must stand in quotes".into())
    } else if line.trim_start_matches(' ').starts_with('\t') {
        Some("indent YAML with spaces, not with tabs".into())
    } else if line.trim_start().starts_with("//") || line.trim_start().starts_with("/*") {
        Some("comments begin with `#`".into())
    } else {
        Some("is a comma, a quote or a bracket missing here or on the line before?".into())
    }
}

/// Why reading stopped before the end.
enum Stop {
    Syntax(ScanError),
    Bound(Place, String),
}

impl From<ScanError> for Stop {
    fn from(error: ScanError) -> Self {
        // The parser looks ahead, so that it may meet the bound before the tree does.
        if *error.kind() == ErrorKind::RecursionLimitExceeded {
            too_deep(place_of(error.marker()))
        } else {
            Self::Syntax(error)
        }
    }
}

fn too_deep(place: Place) -> Stop {
    Stop::Bound(place, format!("lists and mappings stand more than {DEPTH_MAX} deep"))
}

struct Builder<'e> {
    environment: &'e Environment,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, usize)>,
    n_values: usize,
    root: Option<Node>,
}

/// A list or mapping that is not closed yet.
struct Frame {
    place: Place,
    anchor: usize,
    n_values_before: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, keys: BTreeMap<Box<str>, Place>, key: Option<(Box<str>, Place)> },
}

impl Builder<'_> {
    fn run(&mut self, text: &str, report: &mut Report) -> Result<(), Stop> {
        let options = granit_parser::options! { flow_nesting_limit: DEPTH_MAX, block_nesting_limit: DEPTH_MAX };
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(Stop::from)?;
            let place = place_of(&span.start);
            match event {
                Event::DocumentStart(..) if self.root.is_some() => {
                    return Err(Stop::Bound(place, "a second document begins here; there must be one only".into()));
                }
                Event::StreamStart
                | Event::DocumentStart(..)
                | Event::Anchor(..)
                | Event::DocumentEnd
                | Event::StreamEnd => {}
                Event::Alias(anchor) => self.repeat(anchor, place, report)?,
                Event::UnresolvedAlias(name) => {
                    return Err(Stop::Bound(place, format!("no anchor is called {}", quoted(&name))));
                }
                Event::Scalar(text, style, anchor, tag) => self.scalar(&text, style, (anchor, tag), place, report)?,
                Event::SequenceStart(_, anchor, tag) => self.open(Content::List(Vec::new()), (anchor, tag), place)?,
                Event::MappingStart(_, anchor, tag) => {
                    let content = Content::Map { entries: Vec::new(), keys: BTreeMap::new(), key: None };
                    self.open(content, (anchor, tag), place)?;
                }
                Event::SequenceEnd | Event::MappingEnd => self.close(report)?,
                _unknown => return Err(Stop::Bound(place, "this is YAML of a kind that is not read".into())),
            }
        }
        Ok(())
    }

    fn count(&mut self, n_values: usize, place: Place) -> Result<(), Stop> {
        self.n_values = self.n_values.saturating_add(n_values);
        if self.n_values > VALUES_MAX {
            return Err(Stop::Bound(place, format!("the file holds more than {VALUES_MAX} values")));
        }
        Ok(())
    }

    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        (anchor, tag): (usize, Option<Cow<'_, Tag>>),
        place: Place,
        report: &mut Report,
    ) -> Result<(), Stop> {
        refuse_tag(tag.as_deref(), place)?;
        self.count(1, place)?;
        if let Some(Frame { content: Content::Map { key: key @ None, .. }, .. }) = self.frames.last_mut() {
            *key = Some((text.into(), place));
            return Ok(());
        }
        let value = if style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            Value::Null
        } else {
            match expand(text, self.environment) {
                Ok(expanded) => Value::Scalar(Scalar { text: expanded.into(), written: text.into() }),
                Err(error) => {
                    let hint = "set it, or write `$${` for the two characters themselves";
                    report.error_with_hint(place, error.to_string(), Some(hint.into()));
                    Value::Reported
                }
            }
        };
        self.put(Node { place, value }, anchor, 1, report)
    }

    fn open(
        &mut self,
        content: Content,
        (anchor, tag): (usize, Option<Cow<'_, Tag>>),
        place: Place,
    ) -> Result<(), Stop> {
        refuse_tag(tag.as_deref(), place)?;
        let n_values_before = self.n_values;
        self.count(1, place)?;
        if self.frames.len() >= DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.frames.push(Frame { place, anchor, n_values_before, content });
        Ok(())
    }

    fn close(&mut self, report: &mut Report) -> Result<(), Stop> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        let n_values = self.n_values.saturating_sub(frame.n_values_before);
        self.put(Node { place: frame.place, value }, frame.anchor, n_values, report)
    }

    fn repeat(&mut self, anchor: usize, place: Place, report: &mut Report) -> Result<(), Stop> {
        let Some((_, n_values)) = self.anchors.get(&anchor) else {
            return Err(Stop::Bound(place, "this alias stands inside the value that it repeats".into()));
        };
        let n_values = *n_values;
        // Counted before the copy is made, so that a bomb goes off on paper only.
        self.count(n_values, place)?;
        match self.anchors.get(&anchor).map(|(node, _)| node.clone()) {
            Some(node) => self.put(node, 0, n_values, report),
            None => Ok(()),
        }
    }

    /// Puts a finished value into whatever is open.
    fn put(&mut self, node: Node, anchor: usize, n_values: usize, report: &mut Report) -> Result<(), Stop> {
        if anchor != 0 {
            self.count(n_values, node.place)?;
            self.anchors.insert(anchor, (node.clone(), n_values));
        }
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, keys, key }) => match key.take() {
                None => return Err(Stop::Bound(node.place, "a key must be a plain text".into())),
                Some((name, key_place)) => {
                    if let Some(first) = keys.get(&name) {
                        let first = if let Place::Spot { line, .. } = first { *line } else { 0 };
                        let message = format!("{} stands here for the second time", quoted(&name));
                        let hint = format!("the first is on line {first}; remove one of them");
                        report.error_with_hint(key_place, message, Some(hint.into()));
                    } else {
                        keys.insert(name.clone(), key_place);
                        entries.push(Entry { key: name, key_place, node });
                    }
                }
            },
        }
        Ok(())
    }
}

/// YAML's own tags, such as `!!str`, change nothing: the reader of a key knows what it wants.
fn refuse_tag(tag: Option<&Tag>, place: Place) -> Result<(), Stop> {
    match tag {
        Some(tag) if tag.handle() != "tag:yaml.org,2002:" && tag.handle() != "!!" => {
            let name = format!("{}{}", tag.handle(), tag.suffix());
            Err(Stop::Bound(place, format!("the tag {} means nothing here", quoted(&name))))
        }
        Some(_) | None => Ok(()),
    }
}
