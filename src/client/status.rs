//! The broker's status, for operators.

use super::{Client, Failure};
use crate::pb::{GetStatusRequest, GetStatusResponse};
use crate::protocol::MAX_STATUS_KEYS;

impl Client<'_> {
    /// Returns the broker's status with up to `limit` keys, of as many pages as that takes. Its page token continues after them.
    ///
    /// # Errors
    /// Returns the broker's error, or why the call failed.
    pub async fn status(&mut self, request: &GetStatusRequest, limit: usize) -> Result<GetStatusResponse, Failure> {
        let mut status = self.status_page(request, limit).await?;
        while status.keys.len() < limit && !status.next_page_token.is_empty() {
            let next = GetStatusRequest { page_token: status.next_page_token.clone(), ..request.clone() };
            let page = self.status_page(&next, limit - status.keys.len()).await?;
            status.keys.extend(page.keys);
            status.next_page_token = page.next_page_token;
        }
        Ok(status)
    }

    async fn status_page(&mut self, request: &GetStatusRequest, limit: usize) -> Result<GetStatusResponse, Failure> {
        let page_size = i32::try_from(limit).unwrap_or(MAX_STATUS_KEYS).clamp(1, MAX_STATUS_KEYS);
        let request = GetStatusRequest { page_size, ..request.clone() };
        self.call(|connection| {
            let message = request.clone();
            async move {
                let operator = || connection.operator();
                connection.unary(message, |request| async move { operator().get_status(request).await }).await
            }
        })
        .await
    }
}
