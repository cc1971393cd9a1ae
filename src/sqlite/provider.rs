//! What a view of a database reads from.

use std::sync::Arc;

use crate::error::Result;
use crate::types::{PageNo, PageSize};

/// Gives single pages of a database that does not change during a statement, in whatever order they
/// are asked for, to several threads.
pub(crate) trait PageProvider: Send + Sync {
    /// The size of each page.
    fn page_size(&self) -> PageSize;

    /// How many pages there are.
    fn pages(&self) -> u32;

    /// Whether it becomes another database between statements, and says so by the change counter of
    /// page 1, as any file does that somebody writes to.
    fn moves(&self) -> bool {
        false
    }

    /// Reads a page into a buffer of its size.
    ///
    /// # Errors
    /// Whatever keeps it from giving that page's content: there is no half of a page, and no other
    /// one.
    fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()>;

    /// A page's content, which a provider may have at hand.
    ///
    /// # Errors
    /// As [`PageProvider::read`].
    fn content(&self, page: PageNo) -> Result<Arc<[u8]>> {
        let mut content = vec![0; self.page_size().bytes()];
        self.read(page, &mut content)?;
        Ok(content.into())
    }
}

/// A provider that several read from.
impl<P: PageProvider + ?Sized> PageProvider for Arc<P> {
    fn page_size(&self) -> PageSize {
        (**self).page_size()
    }

    fn pages(&self) -> u32 {
        (**self).pages()
    }

    fn moves(&self) -> bool {
        (**self).moves()
    }

    fn read(&self, page: PageNo, into: &mut [u8]) -> Result<()> {
        (**self).read(page, into)
    }

    fn content(&self, page: PageNo) -> Result<Arc<[u8]>> {
        (**self).content(page)
    }
}
