//! Every call by which the log is made on storage, in one place, so that tests can make each of them fail.
//!
//! Knows nothing of logs: what the calls mean, and in which order they must come, is for [`super::log`] and [`super::open`] to know.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};

/// The storage under one writer.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) faults: super::faults::Faults,
}

impl Disk {
    /// A new file of this user's alone; one that exists is an error.
    pub(super) fn create(&self, path: &Path) -> io::Result<File> {
        self.reach("create", path)?;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        #[cfg(test)]
        self.faults.created(path);
        Ok(file)
    }

    /// Place beyond the end of a file, whose length stays. Where there is none, or the file system cannot reserve it, the write itself
    /// says so.
    #[allow(clippy::unused_self, reason = "a call on storage like the others")]
    pub(super) fn reserve(&self, file: &File, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let _ = fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, bytes);
    }

    /// Hands bytes to the kernel.
    pub(super) fn write(&self, (file, path): (&File, &Path), bytes: &[u8], at: u64) -> io::Result<()> {
        self.reach("write to", path)?;
        #[cfg(test)]
        let bytes = self.faults.written(path, bytes, at);
        file.write_all_at(bytes, at)?;
        #[cfg(test)]
        self.faults.was_short()?;
        Ok(())
    }

    /// Hands a file's bytes to the disk.
    pub(super) fn sync(&self, (file, path): (&File, &Path)) -> io::Result<()> {
        self.reach("sync", path)?;
        file.sync_data()?;
        #[cfg(test)]
        self.faults.synced(path);
        Ok(())
    }

    /// Hands the names in a folder to the disk.
    pub(super) fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.reach("sync", path)?;
        File::open(path)?.sync_all()?;
        #[cfg(test)]
        self.faults.named(path);
        Ok(())
    }

    /// Gives back place beyond the end of a file.
    pub(super) fn trim(&self, file: &File, path: &Path) -> io::Result<()> {
        self.reach("trim", path)?;
        let length = file.metadata()?.len();
        file.set_len(length)?;
        // Where equal lengths are taken for nothing to do (tmpfs); a file system that cannot is one that has reserved nothing.
        let beyond = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        if let Ok(from) = i64::try_from(length) {
            let _ = fallocate(file, beyond, from, i64::MAX / 4 - from);
        }
        Ok(())
    }

    /// Replaces a small file as a whole: a reader, or a machine after a power cut, sees the old one or the new one.
    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let beside = path.with_extension("new");
        self.reach("create", &beside)?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        self.write((&file, &beside), content, 0)?;
        self.sync((&file, &beside))?;
        self.rename(&beside, path)?;
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// Gives a file another name, in the place of what has it.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.reach("rename to", to)?;
        #[cfg(test)]
        self.faults.renamed(to);
        std::fs::rename(from, to)
    }

    /// Removes a file, and its name from the disk.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.reach("remove", path)?;
        std::fs::remove_file(path)?;
        path.parent().map_or(Ok(()), |folder| self.sync_folder(folder))
    }

    /// About to do something to storage.
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests make it fail")]
    pub(super) fn reach(&self, doing: &'static str, path: &Path) -> io::Result<()> {
        #[cfg(test)]
        return self.faults.reach(doing, path);
        #[cfg(not(test))]
        {
            let _ = (doing, path);
            Ok(())
        }
    }
}
