//! Files in GridFS: two collections that belong together, with indexes that the driver makes.

use crate::scenario::{Scenario, Source};
use bson::{Bson, doc};
use futures_util::{AsyncWriteExt, future::BoxFuture};
use mongodb::{gridfs::GridFsBucket, options::GridFsBucketOptions};

pub struct GridFs;

const NAME: &str = "files";

impl Scenario for GridFs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn load<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for n in 0..6 {
                upload(&bucket(source), n, 700_000).await;
            }
        })
    }

    fn round<'a>(&'a self, source: &'a Source, n: i32) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let bucket = bucket(source);
            upload(&bucket, 100 + n, 300_000).await;
            bucket.rename(Bson::Int32(100 + n), format!("renamed {n}")).await.unwrap();
            if n > 6 {
                bucket.delete(Bson::Int32(100 + n - 6)).await.unwrap();
            }
        })
    }
}

fn bucket(source: &Source) -> GridFsBucket {
    let options = GridFsBucketOptions::builder().bucket_name("photos".to_string()).build();
    source.db(NAME).gridfs_bucket(options)
}

async fn upload(bucket: &GridFsBucket, id: i32, bytes: usize) {
    let mut stream =
        bucket.open_upload_stream(format!("file {id}")).id(Bson::Int32(id)).metadata(doc! { "n": id }).await.unwrap();
    let content: Vec<u8> = (0..bytes).map(|at| (at * 31 + id as usize) as u8).collect();
    stream.write_all(&content).await.unwrap();
    stream.close().await.unwrap();
}
