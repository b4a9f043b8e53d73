//! Rows as the server prints them, and their values as types of ours.

use jiff::Timestamp;

use super::sql::{ServerError, SqlClient};

/// Times as text that does not depend on any setting.
const TIME_FORMAT: &str = r#"'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'"#;

/// SQL for a time in UTC, as [`Timestamp`] reads it.
pub(super) fn utc(expression: &str) -> String {
    format!("to_char({expression} AT TIME ZONE 'UTC', {TIME_FORMAT})")
}

/// A row as the server prints it.
pub(super) struct TextRow<'a> {
    pub(super) client: &'a SqlClient,
    pub(super) action: &'static str,
    pub(super) values: Vec<Option<String>>,
}

impl SqlClient {
    /// The row of a query that yields one.
    pub(super) async fn only_text_row(&self, action: &'static str, sql: &str) -> Result<TextRow<'_>, ServerError> {
        let mut rows = self.text_rows(action, sql).await?;
        match (rows.pop(), rows.len()) {
            (Some(row), 0) => Ok(row),
            (None, _) => Err(self.invalid(action, "no row")),
            (Some(_), more) => Err(self.invalid(action, format!("{} rows in place of one", more + 1))),
        }
    }

    /// The row of a query that yields one; `None` when the role may not ask that.
    pub(super) async fn text_row_if_allowed(
        &self,
        action: &'static str,
        sql: &str,
    ) -> Result<Option<TextRow<'_>>, ServerError> {
        match self.only_text_row(action, sql).await {
            Err(error) if error.is_permission_denied() => Ok(None),
            row => row.map(Some),
        }
    }

    /// The rows of a query.
    pub(super) async fn text_rows(&self, action: &'static str, sql: &str) -> Result<Vec<TextRow<'_>>, ServerError> {
        let rows = self.query_text(action, sql).await?;
        Ok(rows.into_iter().map(|values| TextRow { client: self, action, values }).collect())
    }
}

impl TextRow<'_> {
    pub(super) fn text(&self, column: usize) -> Option<&str> {
        self.values.get(column).and_then(Option::as_deref)
    }

    pub(super) fn owned(&self, column: usize) -> Option<String> {
        self.text(column).map(str::to_owned)
    }

    pub(super) fn parsed<T: std::str::FromStr>(&self, column: usize) -> Result<Option<T>, ServerError> {
        let invalid = |text: &str| self.client.invalid(self.action, format!("\"{text}\""));
        self.text(column).map(|text| text.parse().map_err(|_| invalid(text))).transpose()
    }

    pub(super) fn time(&self, column: usize) -> Result<Option<Timestamp>, ServerError> {
        self.parsed(column)
    }
}
