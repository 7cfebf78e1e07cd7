//! Tokens and certificates in SQLite.

use chrono::{DateTime, Utc};
use nightshift_core::ids::NodeName;
use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{Executor, Row, Sqlite};

use super::sqlite::time;
use super::{Certificate, Enrolment, Error, Role, Token};

pub(super) async fn insert_token(pool: &SqlitePool, token: &Token) -> Result<(), Error> {
    let sql = "INSERT INTO tokens (id, role, name, secret_hash, created, expires, apps, used_at, revoked_at) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let apps: Vec<_> = token.apps.iter().map(nightshift_core::ids::AppName::as_str).collect();
    let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
    sqlx::query(sql)
        .bind(&token.id)
        .bind(token.role.as_str())
        .bind(&token.name)
        .bind(&token.secret_hash)
        .bind(token.created.timestamp_micros())
        .bind(micros(token.expires))
        .bind(serde_json::Value::from(apps).to_string())
        .bind(micros(token.used_at))
        .bind(micros(token.revoked_at))
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn token(pool: &SqlitePool, id: &str) -> Result<Option<Token>, Error> {
    let row = sqlx::query("SELECT * FROM tokens WHERE id = $1").bind(id).fetch_optional(pool).await?;
    row.as_ref().map(read_token).transpose()
}

pub(super) async fn tokens(pool: &SqlitePool) -> Result<Vec<Token>, Error> {
    let rows = sqlx::query("SELECT * FROM tokens ORDER BY created, id").fetch_all(pool).await?;
    rows.iter().map(read_token).collect()
}

/// In a transaction that the caller commits only when it is done.
pub(super) async fn enroll_node(
    connection: &mut SqliteConnection,
    token_id: &str,
    certificate: &Certificate,
) -> Result<Enrolment, Error> {
    let now = certificate.issued.timestamp_micros();
    let sql = "UPDATE tokens SET used_at = $2 WHERE id = $1 AND role = $3 AND used_at IS NULL \
               AND revoked_at IS NULL AND (expires IS NULL OR expires > $2)";
    let spend = sqlx::query(sql).bind(token_id).bind(now).bind(Role::Node.as_str());
    if spend.execute(&mut *connection).await?.rows_affected() != 1 {
        return Ok(Enrolment::TokenSpent);
    }
    let sql = "SELECT 1 FROM certificates WHERE node = $1 AND revoked_at IS NULL AND expires > $2 LIMIT 1";
    let taken = sqlx::query(sql).bind(certificate.node.as_str()).bind(now);
    if taken.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(Enrolment::NameTaken);
    }
    insert_certificate(connection, certificate).await?;
    Ok(Enrolment::Done)
}

pub(super) async fn revoke_token(pool: &SqlitePool, id: &str, now: DateTime<Utc>) -> Result<bool, Error> {
    let sql = "UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL";
    let done = sqlx::query(sql).bind(id).bind(now.timestamp_micros()).execute(pool).await?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn insert_certificate(
    executor: impl Executor<'_, Database = Sqlite>,
    certificate: &Certificate,
) -> Result<(), Error> {
    sqlx::query("INSERT INTO certificates (serial, node, issued, expires) VALUES ($1, $2, $3, $4)")
        .bind(&certificate.serial)
        .bind(certificate.node.as_str())
        .bind(certificate.issued.timestamp_micros())
        .bind(certificate.expires.timestamp_micros())
        .execute(executor)
        .await?;
    Ok(())
}

pub(super) async fn revoke_certificates(
    pool: &SqlitePool,
    node: &NodeName,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    let sql = "UPDATE certificates SET revoked_at = $2 \
               WHERE node = $1 AND revoked_at IS NULL AND expires > $2 RETURNING serial";
    let query = sqlx::query(sql).bind(node.as_str()).bind(now.timestamp_micros());
    serials(&query.fetch_all(pool).await?)
}

pub(super) async fn revoked_certificates(pool: &SqlitePool, now: DateTime<Utc>) -> Result<Vec<String>, Error> {
    let sql = "SELECT serial FROM certificates WHERE revoked_at IS NOT NULL AND expires > $1 ORDER BY serial";
    serials(&sqlx::query(sql).bind(now.timestamp_micros()).fetch_all(pool).await?)
}

fn serials(rows: &[SqliteRow]) -> Result<Vec<String>, Error> {
    rows.iter().map(|row| Ok(row.try_get("serial")?)).collect()
}

fn read_token(row: &SqliteRow) -> Result<Token, Error> {
    let id: String = row.try_get("id")?;
    let damaged = |text: String| Error::Damaged(format!("token `{id}`: {text}"));
    let role: String = row.try_get("role")?;
    let apps: String = row.try_get("apps")?;
    let optional = |column| row.try_get::<Option<i64>, _>(column)?.map(time).transpose();
    Ok(Token {
        role: role.parse().map_err(|error: super::UnknownRole| damaged(error.to_string()))?,
        name: row.try_get("name")?,
        secret_hash: row.try_get("secret_hash")?,
        created: time(row.try_get("created")?)?,
        expires: optional("expires")?,
        apps: serde_json::from_str(&apps).map_err(|error| damaged(error.to_string()))?,
        used_at: optional("used_at")?,
        revoked_at: optional("revoked_at")?,
        id,
    })
}
