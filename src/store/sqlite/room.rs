//! Room on the disk: a ballast beside the database, thrown overboard when the disk is full.
//!
//! A full disk must not stop the alerts that run. So a file is kept that holds nothing; when a write
//! finds no room it is deleted, new alerts are refused from then on, and what is left goes to the work
//! that has been promised. When there is room again the ballast is put back and new alerts are taken.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::opening::{beside, private_file};

/// How large the ballast is where there is room for it.
pub(super) const BALLAST_BYTES: u64 = 64 << 20;
/// On a small disk it takes at most one in so many bytes that are free.
const BALLAST_SHARE: u64 = 8;
/// After a disk was full, so many times the ballast must be free before it is put back: the room must not
/// be taken away again from those who need it.
const FREE_FOR_BALLAST: u64 = 4;
/// Where less than this is free (or less than the ballast, on a small disk), the operator should know.
pub(super) const DISK_LOW_BYTES: u64 = 512 << 20;

/// Watches over the room.
#[derive(Debug)]
pub(super) struct Room {
    ballast: PathBuf,
    is_full: AtomicBool,
    /// How much was thrown overboard; zero while nothing was.
    thrown: AtomicU64,
}

/// What a look at the disk found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) free_bytes: u64,
    pub(super) is_full: bool,
}

impl Room {
    pub(super) fn beside(database: &Path) -> Self {
        Self { ballast: beside(database, "-ballast"), is_full: AtomicBool::new(false), thrown: AtomicU64::new(0) }
    }

    /// Whether new alerts are refused because the disk is full.
    pub(super) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    /// A write found no room. Throws the ballast overboard, and tells whether there was one.
    pub(super) fn run_out(&self) -> bool {
        let was_full = self.is_full.swap(true, Ordering::Relaxed);
        let n_bytes = fs::metadata(&self.ballast).map_or(0, |metadata| metadata.len());
        let is_thrown = n_bytes > 0 && fs::remove_file(&self.ballast).is_ok();
        if is_thrown {
            self.thrown.store(n_bytes, Ordering::Relaxed);
            tracing::error!(
                n_bytes,
                "the disk of the database is FULL: new alerts are refused, those that run go on with the room of the ballast; make room on the disk, callout goes on by itself then"
            );
        } else if !was_full {
            tracing::error!(
                "the disk of the database is FULL and there is no ballast left: new alerts are refused and those that run may be held up; make room on the disk, callout goes on by itself then"
            );
        }
        is_thrown
    }

    /// Puts the ballast where there is room for it, and takes new alerts again once there is.
    pub(super) fn tend(&self) -> io::Result<Found> {
        let free_bytes = free_bytes(&self.ballast)?;
        let has_ballast = fs::metadata(&self.ballast).is_ok_and(|metadata| metadata.len() > 0);
        let thrown = self.thrown.load(Ordering::Relaxed);
        let wanted = if thrown > 0 { thrown } else { BALLAST_BYTES.min(free_bytes / BALLAST_SHARE) };
        let has_room = free_bytes / FREE_FOR_BALLAST >= wanted && wanted > 0;
        if has_room && !has_ballast {
            self.take_ballast(wanted)?;
            self.thrown.store(0, Ordering::Relaxed);
        }
        if has_room && self.is_full.swap(false, Ordering::Relaxed) {
            tracing::info!(free_bytes, "there is room on the disk of the database again; new alerts are accepted");
        }
        Ok(Found { free_bytes, is_full: self.is_full() })
    }

    fn take_ballast(&self, n_bytes: u64) -> io::Result<()> {
        let file = private_file(&self.ballast)?;
        let taken = match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, n_bytes) {
            // This file system takes room only for what is written.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_nothing(&file, n_bytes),
            other => other.map_err(io::Error::from),
        };
        if taken.is_err() {
            // Half a ballast takes room and helps nobody.
            let _removed_or_not = fs::remove_file(&self.ballast);
        }
        taken
    }
}

fn write_nothing(mut file: &File, n_bytes: u64) -> io::Result<()> {
    let nothing = vec![0_u8; 1 << 20];
    let mut left = n_bytes;
    while left > 0 {
        let n_now = usize::try_from(left).unwrap_or(usize::MAX).min(nothing.len());
        file.write_all(nothing.get(..n_now).unwrap_or_default())?;
        left -= u64::try_from(n_now).unwrap_or(left);
    }
    file.sync_all()
}

/// How many bytes callout may still write to the disk that this file is on.
fn free_bytes(path: &Path) -> io::Result<u64> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ballast_is_thrown_once_and_put_back_when_there_is_room() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("callout.db");
        let room = Room::beside(&database);
        let ballast = directory.path().join("callout.db-ballast");
        room.tend().unwrap();
        let n_bytes = ballast.metadata().unwrap().len();
        assert!(n_bytes > 0 && n_bytes <= BALLAST_BYTES, "{n_bytes}");
        assert!(!room.is_full());
        assert!(room.run_out(), "there is something to throw");
        assert!(room.is_full() && !ballast.exists());
        assert!(!room.run_out(), "and only once");
        let found = room.tend().unwrap();
        assert!(!found.is_full && !room.is_full(), "this disk has room");
        assert_eq!(ballast.metadata().unwrap().len(), n_bytes);
    }
}
