//! What layers and archives are compressed with, told from their first bytes: plain, gzip, zstd, xz or bzip2.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use lzma_rust2::XzReader;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// What a stream is compressed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Nothing that is known.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878; the stream may begin with a frame to be skipped.
    Zstd,
    /// The .xz file format, as docker takes it.
    Xz,
    /// As docker takes it.
    Bzip2,
}

impl Compression {
    /// By the first bytes, at most [`MAGIC`] of them.
    pub fn of(first: &[u8]) -> Self {
        match first {
            [0x1f, 0x8b, 0x08, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::Plain,
        }
    }
}

/// How many bytes tell the compression.
pub const MAGIC: u64 = 6;

/// The content of `source`, decompressed.
///
/// # Errors
/// What `source` answered. Reading answers `InvalidData` for what is damaged, and `OutOfMemory` where a dictionary or
/// window is larger than 100 MiB.
pub fn decoder<'a>(mut source: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let mut first = Vec::new();
    (&mut source).take(MAGIC).read_to_end(&mut first)?;
    let compression = Compression::of(&first);
    let source = Cursor::new(first).chain(source);
    match compression {
        Compression::Plain => Ok(Box::new(source)),
        Compression::Gzip => {
            let buffered = BufReader::with_capacity(BUFFER, source);
            Ok(Box::new(flate2::bufread::MultiGzDecoder::new(buffered)))
        }
        Compression::Zstd => Ok(Box::new(Zstd::new(BufReader::with_capacity(
            BUFFER, source,
        ))?)),
        Compression::Xz => {
            let buffered = BufReader::with_capacity(BUFFER, source);
            Ok(Box::new(XzReader::new_mem_limit(buffered, true, XZ_MEMORY)))
        }
        // A block has 900 kB at most (bzip2(1), "MEMORY MANAGEMENT").
        Compression::Bzip2 => {
            let buffered = BufReader::with_capacity(BUFFER, source);
            Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(buffered)))
        }
    }
}

const BUFFER: usize = 64 << 10;

/// KiB for xz, at most: `xz -9` takes 65 MiB, and a header may ask for 4 GiB.
const XZ_MEMORY: u32 = 100 << 10;

/// All frames of a stream: zstd:chunked ends with frames that are to be skipped, and pzstd writes many.
struct Zstd<R> {
    source: R,
    frame: FrameDecoder,
}

/// The header of an empty frame. The decoder limits the window (to 100 MiB) of each frame but its first.
const EMPTY_FRAME: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd, 0x20, 0, 1, 0, 0];

impl<R: BufRead> Zstd<R> {
    fn new(source: R) -> io::Result<Self> {
        let (mut frame, mut empty) = (FrameDecoder::new(), EMPTY_FRAME);
        frame.init(&mut empty).map_err(invalid)?;
        frame
            .decode_blocks(&mut empty, BlockDecodingStrategy::All)
            .map_err(invalid)?;
        Ok(Self { source, frame })
    }

    /// Goes on to the next frame with content; `false` at the end.
    fn begin_frame(&mut self) -> io::Result<bool> {
        loop {
            if self.source.fill_buf()?.is_empty() {
                return Ok(false);
            }
            match self.frame.init(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped != length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(invalid(error)),
            }
        }
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.frame.can_collect() == 0 {
            if !self.frame.is_finished() {
                let one = BlockDecodingStrategy::UptoBlocks(1);
                self.frame
                    .decode_blocks(&mut self.source, one)
                    .map_err(invalid)?;
            } else if !self.begin_frame()? {
                return Ok(0);
            }
        }
        self.frame.read(buffer)
    }
}

fn invalid(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of one raw block.
    fn frame(content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let block = (u32::from(length) << 3 | 1).to_le_bytes();
        [&EMPTY_FRAME[..5], &[length], &block[..3], content].concat()
    }

    fn decoded(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        decoder(bytes)?.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn all_frames_are_decoded_and_skippable_ones_skipped() {
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let all = [
            &skipped[..],
            &frame(b"one "),
            &skipped,
            &frame(b""),
            &frame(b"two"),
        ]
        .concat();
        assert_eq!(decoded(&all).unwrap(), b"one two");
        assert!(decoded(&all[..all.len() - 1]).is_err());
        assert!(decoded(&[&all[..], b"garbage"].concat()).is_err());
    }

    #[test]
    fn a_window_that_no_memory_has_room_for_is_refused() {
        // Window descriptor 0xf8: 2^41 bytes.
        assert!(decoded(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0xf8, 1, 0, 0]).is_err());
    }

    #[test]
    fn what_is_short_or_unknown_is_plain() {
        assert_eq!(decoded(b"").unwrap(), b"");
        assert_eq!(decoded(b"abc").unwrap(), b"abc");
    }

    /// Compresses `content` with a program.
    fn packed(program: &str, args: &[&str], content: &[u8]) -> Vec<u8> {
        let mut command = std::process::Command::new(program);
        let piped = std::process::Stdio::piped;
        let mut child = command
            .args(args)
            .stdin(piped())
            .stdout(piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || io::Write::write_all(&mut stdin, content).unwrap());
            child.wait_with_output().unwrap().stdout
        })
    }

    #[test]
    fn xz_and_bzip2_are_decoded_in_all_their_parts() {
        let content = b"one and the same line\n".repeat(50_000);
        for (program, args) in [
            ("xz", &["-9"][..]),
            ("xz", &["-0", "--block-size=65536", "--check=sha256"]),
            ("bzip2", &["-9"]),
        ] {
            let one = packed(program, args, &content);
            let both = [&one[..], &one[..]].concat();
            assert_eq!(decoded(&both).unwrap(), content.repeat(2), "{program}");
            assert!(decoded(&one[..one.len() - 9]).is_err(), "{program}");
            let mut damaged = one.clone();
            damaged[one.len() / 2] ^= 0xff;
            assert!(decoded(&damaged).is_err(), "{program}");
        }
    }

    #[test]
    fn a_dictionary_that_no_memory_has_room_for_is_refused() {
        let large = packed("xz", &["--lzma2=preset=0,dict=256MiB"], b"small");
        let refused = decoded(&large).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::OutOfMemory, "{refused}");
    }
}
