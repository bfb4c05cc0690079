//! The lines of a log, however long it is, in one buffer.

use memchr::memchr;
use std::io::{self, Read};

/// Read at once.
const PIECE: usize = 256 << 10;
/// Of a longer line the rest is left out.
const LONGEST: usize = 64 << 10;

/// Gives one line after the other.
pub struct Lines<R> {
    from: R,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    is_over: bool,
}

impl<R: Read> Lines<R> {
    /// Of `from`.
    pub fn new(from: R) -> Self {
        Self {
            from,
            buffer: vec![0; PIECE],
            begin: 0,
            end: 0,
            is_over: false,
        }
    }

    /// The next line, without its end; `None` after the last one.
    ///
    /// # Errors
    /// It cannot be read on. What came before was given.
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        let mut looked = 0;
        loop {
            let rest = &self.buffer[self.begin + looked..self.end];
            if let Some(at) = memchr(b'\n', rest) {
                let end = self.begin + looked + at;
                let line = (self.begin, end);
                self.begin = end + 1;
                return Ok(Some(self.cut(line)));
            }
            if self.is_over {
                let line = (self.begin, self.end);
                self.begin = self.end;
                return Ok((line.0 < line.1).then(|| self.cut(line)));
            }
            looked = self.fill()?;
        }
    }

    fn cut(&self, (from, to): (usize, usize)) -> &[u8] {
        let line = &self.buffer[from..to.min(from + LONGEST)];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    /// Reads on behind what there is. Gives how many bytes of the line were looked at.
    fn fill(&mut self) -> io::Result<usize> {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        // Of a line that fills the buffer the beginning is enough.
        if self.end == self.buffer.len() {
            self.end = LONGEST;
        }
        let looked = self.end;
        match self.from.read(&mut self.buffer[self.end..]) {
            Ok(0) => self.is_over = true,
            Ok(count) => self.end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                self.is_over = true;
                return Err(error);
            }
        }
        Ok(looked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> Vec<usize> {
        let mut lines = Lines::new(text);
        let mut found = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            found.push(line.len());
        }
        found
    }

    #[test]
    fn each_line_is_given_once_and_a_long_one_is_cut() {
        assert!(all(b"").is_empty());
        assert_eq!(all(b"a\n\nbcd\r\nef"), [1, 0, 3, 2]);
        let long = [vec![b'x'; 3 * PIECE], b"\nabc\n".to_vec()].concat();
        assert_eq!(all(&long), [LONGEST, 3]);
        let many: Vec<u8> = (0..100_000).flat_map(|_| *b"0123456\n").collect();
        assert_eq!(all(&many), vec![7; 100_000]);
    }
}
