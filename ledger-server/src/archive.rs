//! A backup as one stream, for another machine's disk: a tar of its files, and a last entry without which it is not whole.
//!
//! A tar that was cut off between two files looks like a shorter one. The last entry, [`END`], says that nothing is missing;
//! a stream without it is refused before anything is made of it. Whoever unpacks a whole stream with `tar` has a backup.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use tar::{Archive, Builder, EntryType, Header};

/// The last entry's name: what was copied, as `backup` prints it.
pub const END: &str = "backup.json";

/// Writes the files of `directory`, and `end` after them.
///
/// # Errors
/// A file cannot be read, or `out` not be written.
pub fn pack(directory: &Path, end: &[u8], out: &mut dyn Write) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()?;
    names.sort_unstable();
    let mut archive = Builder::new(out);
    for name in names {
        archive.append_file(&name, &mut File::open(directory.join(&name))?)?;
    }
    let mut header = Header::new_gnu();
    header.set_size(end.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, END, end)?;
    archive.into_inner()?.flush()
}

/// Writes the files of a stream into `directory`, which is empty. On an error, what is there is not a backup.
///
/// # Errors
/// The stream is cut off (`UnexpectedEof`) or is no backup (`InvalidData`); it cannot be read, or a file not be written.
pub fn unpack(from: &mut dyn Read, directory: &Path) -> io::Result<()> {
    let mut archive = Archive::new(from);
    let mut ended = false;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_file = matches!(entry.header().entry_type(), EntryType::Regular | EntryType::GNUSparse);
        // Nothing may lead out of the directory, and nothing may follow the end.
        let mut parts = path.components();
        let (Some(Component::Normal(name)), None, true, false) = (parts.next(), parts.next(), is_file, ended) else {
            let reason = format!("the stream has {}, which no backup has", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        };
        ended = name == END;
        let copied = if ended {
            io::copy(&mut entry, &mut io::sink())?
        } else {
            io::copy(&mut entry, &mut File::create_new(directory.join(name))?)?
        };
        if copied != entry.size() {
            return Err(cut_off());
        }
    }
    if ended { Ok(()) } else { Err(cut_off()) }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the stream ends before the backup does; make a new backup")
}
