//! A backup as one stream, for another machine's disk: a tar of its files, and a last entry without which it is not whole.
//!
//! A tar that was cut off between two files looks like a shorter one. The last entry, [`END`], says that nothing is missing, and
//! behind it stand two blocks of zeros, as behind every tar: a stream without them is refused before anything is made of it, and so
//! is one that goes on. Whoever unpacks a whole stream with `tar` has a backup.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use tar::{Archive, Builder, EntryType, Header};

/// The last entry's name: what was copied, as `backup` prints it.
pub const END: &str = "backup.json";

/// What a tar consists of, in bytes.
const BLOCK: u64 = 512;

/// To a multiple of so many bytes a tar is filled up with zeros.
const RECORD: u64 = 20 * BLOCK;

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
    let mut watched = Watched { from, is_at_end: false };
    let unpacked = unpack_whole(&mut watched, directory);
    // Whatever it was that was not there.
    let is_cut_off = |fault: &io::Error| watched.is_at_end && fault.kind() != io::ErrorKind::InvalidData;
    unpacked.map_err(|fault| if is_cut_off(&fault) { cut_off() } else { fault })
}

fn unpack_whole(from: &mut Watched<'_>, directory: &Path) -> io::Result<()> {
    let mut archive = Archive::new(&mut *from);
    let mut left = None;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let is_file = matches!(entry.header().entry_type(), EntryType::Regular | EntryType::GNUSparse);
        // Nothing may lead out of the directory.
        let mut parts = path.components();
        let (Some(Component::Normal(name)), None, true) = (parts.next(), parts.next(), is_file) else {
            let reason = format!("the stream has {}, which no backup has", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        };
        let is_end = name == END;
        let copied = if is_end {
            io::copy(&mut entry, &mut io::sink())?
        } else {
            io::copy(&mut entry, &mut File::create_new(directory.join(name))?)?
        };
        if copied != entry.size() {
            return Err(cut_off());
        }
        if is_end {
            left = Some(copied.next_multiple_of(BLOCK) - copied);
            break;
        }
    }
    let padding = left.ok_or_else(cut_off)?;
    expect_zeros(from, padding + 2 * BLOCK)
}

/// What is left of the stream must be that many zeros, and no more than a tar is filled up with.
fn expect_zeros(from: &mut Watched<'_>, least: u64) -> io::Result<()> {
    let mut rest = Vec::new();
    from.take(least + RECORD).read_to_end(&mut rest)?;
    if rest.iter().any(|byte| *byte != 0) || rest.len() as u64 >= least + RECORD {
        let reason =
            "the stream goes on behind the backup's end, which no backup does; send it again as it was written";
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    if (rest.len() as u64) < least { Err(cut_off()) } else { Ok(()) }
}

/// A stream of which is known whether it was read to its end.
struct Watched<'a> {
    from: &'a mut dyn Read,
    is_at_end: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buf)?;
        self.is_at_end |= read == 0 && !buf.is_empty();
        Ok(read)
    }
}

fn cut_off() -> io::Error {
    let reason = "the stream was cut off before the backup's end, and nothing was made of it: send it again, or make a new backup";
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small backup's stream.
    fn packed() -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a", 700), ("b", 512)] {
            fs::write(directory.path().join(name), vec![7; bytes]).unwrap();
        }
        let mut stream = Vec::new();
        pack(directory.path(), b"{}", &mut stream).unwrap();
        stream
    }

    fn unpacked(stream: &[u8]) -> io::Result<()> {
        unpack(&mut &*stream, tempfile::tempdir().unwrap().path())
    }

    #[test]
    fn a_stream_that_is_cut_off_anywhere_is_refused_and_what_to_do_is_said() {
        let stream = packed();
        unpacked(&stream).unwrap();
        let trailer = stream.len() - 1_100..stream.len();
        for length in (0..stream.len()).step_by(61).chain(trailer.rev().step_by(13)) {
            let refused = unpacked(&stream[..length]).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::UnexpectedEof, "{length}: {refused}");
            assert!(
                refused.to_string().contains("cut off") && refused.to_string().contains("send it again"),
                "{refused}"
            );
        }
    }

    #[test]
    fn what_follows_a_whole_stream_is_refused_but_for_what_a_tar_is_filled_up_with() {
        let stream = packed();
        let followed = |by: &[u8]| unpacked(&[&stream, by].concat());
        for zeros in [1, 512, 9_728] {
            assert!(followed(&vec![0; zeros]).is_ok(), "{zeros}");
        }
        for by in [&b"x"[..], &[0; 20_000], &[&[0; 512][..], b"x"].concat(), &stream] {
            assert_eq!(followed(by).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
    }
}
