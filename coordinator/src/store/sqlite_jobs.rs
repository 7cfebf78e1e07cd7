//! Logs of jobs in SQLite.

use sqlx::sqlite::{SqliteConnection, SqlitePool, SqliteRow};
use sqlx::{QueryBuilder, Row, Sqlite};

use super::sqlite::time;
use super::{Error, JOB_LOGS_KEPT, KeptLog};

pub(super) async fn keep(connection: &mut SqliteConnection, log: &KeptLog) -> Result<(), Error> {
    let sql = "INSERT INTO job_logs (job, app, node, kind, digest, result, reason, at, text, cut) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (job) DO NOTHING";
    sqlx::query(sql)
        .bind(&log.job)
        .bind(&log.app)
        .bind(&log.node)
        .bind(&log.kind)
        .bind(&log.digest)
        .bind(&log.result)
        .bind(&log.reason)
        .bind(log.at.timestamp_micros())
        .bind(&log.text)
        .bind(i64::from(log.cut))
        .execute(&mut *connection)
        .await?;
    let surplus = "DELETE FROM job_logs WHERE app = $1 AND job NOT IN \
                   (SELECT job FROM job_logs WHERE app = $1 ORDER BY at DESC, job DESC LIMIT $2)";
    sqlx::query(surplus).bind(&log.app).bind(i64::from(JOB_LOGS_KEPT)).execute(connection).await?;
    Ok(())
}

pub(super) async fn newest(
    pool: &SqlitePool,
    app: &str,
    digest: Option<&str>,
    limit: u32,
) -> Result<Vec<KeptLog>, Error> {
    let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM job_logs WHERE app = ");
    query.push_bind(app);
    if let Some(digest) = digest {
        query.push(" AND digest = ").push_bind(digest);
    }
    query.push(" ORDER BY at DESC, job DESC LIMIT ").push_bind(i64::from(limit));
    query.build().fetch_all(pool).await?.iter().map(log).collect()
}

fn log(row: &SqliteRow) -> Result<KeptLog, Error> {
    let cut: i64 = row.try_get("cut")?;
    Ok(KeptLog {
        job: row.try_get("job")?,
        app: row.try_get("app")?,
        node: row.try_get("node")?,
        kind: row.try_get("kind")?,
        digest: row.try_get("digest")?,
        result: row.try_get("result")?,
        reason: row.try_get("reason")?,
        at: time(row.try_get("at")?)?,
        text: row.try_get("text")?,
        cut: cut != 0,
    })
}
