//! Records as Apache Parquet: a row for each, a column for each field of the contract, nested names joined by `_`.
//!
//! Absent facts are null. `time` is a UTC timestamp in nanoseconds. Memory is one row group.

use std::fs::File;
use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::{Type, TypePtr};

use super::export::Target;
use super::fields::{NAMES, Name, Sink, Value, visit};
use super::scratch::Scratch;
use crate::audit::record::Body;
use crate::audit::segment::Frame;
use crate::limits::AUDIT_EXPORT_ROWS;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Truth,
    Time,
}

fn kind(name: &str) -> Kind {
    match name {
        "time" => Kind::Time,
        "enforced" | "truncated" => Kind::Truth,
        "seq" | "connection" | "port" | "status" | "bytes_up" | "bytes_down" | "process" | "ring" | "segment"
        | "records" => Kind::Number,
        _ if name.starts_with("latency_ns.") || name.starts_with("lost.") => Kind::Number,
        _ => Kind::Text,
    }
}

/// The present values of one column of a row group, and which rows have one.
enum Values {
    Texts(Vec<ByteArray>),
    Numbers(Vec<i64>),
    Truths(Vec<bool>),
}

struct Column {
    kind: Kind,
    values: Values,
    /// 1 where the row has a value: Parquet's definition level of an optional field.
    present: Vec<i16>,
}

impl Column {
    fn new(name: &str) -> Self {
        let kind = kind(name);
        let values = match kind {
            Kind::Text => Values::Texts(Vec::new()),
            Kind::Number | Kind::Time => Values::Numbers(Vec::new()),
            Kind::Truth => Values::Truths(Vec::new()),
        };
        Self { kind, values, present: Vec::new() }
    }

    /// The value of the present row. A value of another kind than the column's is left out; a test knows that there is none.
    fn put(&mut self, row: usize, value: Value<'_>) {
        match (&mut self.values, value) {
            (Values::Texts(texts), Value::Text(text) | Value::Plain(text)) => {
                texts.push(text.as_bytes().to_vec().into())
            }
            (Values::Texts(texts), Value::List(words)) => texts.push(words.join(" ").into_bytes().into()),
            // Counters beyond 2^63 keep their bits: the column is one of unsigned numbers.
            (Values::Numbers(numbers), Value::Number(number)) => numbers.push(number.cast_signed()),
            (Values::Truths(truths), Value::True) => truths.push(true),
            (Values::Truths(truths), Value::False) => truths.push(false),
            _ => return,
        }
        self.present.resize(row, 0);
        self.present.push(1);
    }

    fn write(&mut self, rows: usize, mut column: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        self.present.resize(rows, 0);
        let present = Some(&self.present[..]);
        match &mut self.values {
            Values::Texts(texts) => {
                column.typed::<ByteArrayType>().write_batch(texts, present, None)?;
                texts.clear();
            }
            Values::Numbers(numbers) => {
                column.typed::<Int64Type>().write_batch(numbers, present, None)?;
                numbers.clear();
            }
            Values::Truths(truths) => {
                column.typed::<BoolType>().write_batch(truths, present, None)?;
                truths.clear();
            }
        }
        self.present.clear();
        column.close()
    }
}

/// A row group under way.
struct Rows {
    columns: Vec<Column>,
    rows: usize,
    /// The time of the present row; its text is not needed.
    time: u64,
}

impl Rows {
    fn put(&mut self, name: impl Fn(&str) -> bool, value: Value<'_>) {
        let at = NAMES.iter().position(|column| name(column));
        if let Some(column) = at.and_then(|at| self.columns.get_mut(at)) {
            let value = if column.kind == Kind::Time { Value::Number(self.time) } else { value };
            column.put(self.rows, value);
        }
    }

    fn put_nested(&mut self, name: &str, inner: &str, value: Value<'_>) {
        self.put(|column| column.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) == Some(inner), value);
    }
}

impl Sink for Rows {
    fn field(&mut self, Name { plain: name, .. }: Name, value: Value<'_>) {
        match value {
            Value::Map(entries) => {
                entries.iter().for_each(|(inner, number)| self.put_nested(name, inner, Value::Number(*number)));
            }
            Value::Texts(entries) => {
                let present = entries.iter().filter(|(_, text)| !text.is_empty());
                present.for_each(|(inner, text)| self.put_nested(name, inner, Value::Text(text)));
            }
            value => self.put(|column| column == name, value),
        }
    }
}

/// A Parquet file that is being written.
pub(super) struct Export {
    rows: Rows,
    scratch: Scratch,
    writer: SerializedFileWriter<File>,
}

impl Export {
    pub(super) fn new(out: File) -> io::Result<Self> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("ringfence ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let schema = schema().map_err(io::Error::other)?;
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties)).map_err(io::Error::other)?;
        let columns = NAMES.iter().map(|name| Column::new(name)).collect();
        Ok(Self { rows: Rows { columns, rows: 0, time: 0 }, scratch: Scratch::default(), writer })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.rows.columns {
            if let Some(writer) = group.next_column()? {
                column.write(self.rows.rows, writer)?;
            }
        }
        group.close()?;
        self.rows.rows = 0;
        Ok(())
    }
}

impl Target for Export {
    fn record(&mut self, frame: &Frame<'_>, body: Body<'_>) -> io::Result<()> {
        self.rows.time = frame.time.0;
        visit(frame, body, &mut self.scratch, &mut self.rows);
        self.rows.rows += 1;
        if self.rows.rows < AUDIT_EXPORT_ROWS { Ok(()) } else { self.write_group().map_err(io::Error::other) }
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.rows.rows > 0 {
            self.write_group().map_err(io::Error::other)?;
        }
        self.writer.finish().map(drop).map_err(io::Error::other)
    }
}

fn schema() -> Result<TypePtr, ParquetError> {
    let columns = NAMES.iter().map(|name| {
        let (physical, logical) = match kind(name) {
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            Kind::Number => (Physical::INT64, Some(LogicalType::integer(64, false))),
            Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
            Kind::Truth => (Physical::BOOLEAN, None),
        };
        let name = name.replace('.', "_");
        let column = Type::primitive_type_builder(&name, physical).with_logical_type(logical);
        column.with_repetition(Repetition::OPTIONAL).build().map(Arc::new)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Type::group_type_builder("record").with_fields(columns).build()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::audit::tests::{each, sample};
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn reads_back_as_what_decode_prints() {
        let root = tempfile::tempdir().unwrap();
        let dir = sample(root.path());
        let file = root.path().join("records.parquet");
        let mut export = Export::new(File::create(&file).unwrap()).unwrap();
        let mut expected = Vec::new();
        each(&dir, |frame, body| {
            export.record(frame, body).unwrap();
            let mut line = Vec::new();
            super::super::json::line(frame, body, &mut Scratch::default(), &mut line);
            expected.push((frame.time.0, serde_json::from_slice::<serde_json::Value>(&line).unwrap()));
        });
        export.finish().unwrap();

        let reader = SerializedFileReader::new(File::open(&file).unwrap()).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), expected.len());
        for (row, (time, object)) in rows.iter().zip(&expected) {
            for ((name, field), path) in row.get_column_iter().zip(NAMES) {
                let said = path.split('.').try_fold(object, |object, name| object.get(name));
                let what = format!("{name} of {object}");
                match (field, said) {
                    (Field::Null, said) => assert_eq!(said, None, "{what}"),
                    (Field::Str(text), Some(serde_json::Value::String(said))) => assert_eq!(text, said, "{what}"),
                    (Field::Str(text), Some(serde_json::Value::Array(words))) => {
                        let words: Vec<_> = words.iter().map(|word| word.as_str().unwrap()).collect();
                        assert_eq!(*text, words.join(" "), "{what}");
                    }
                    (Field::ULong(number), Some(said)) => assert_eq!(Some(*number), said.as_u64(), "{what}"),
                    (Field::Bool(truth), Some(said)) => assert_eq!(Some(*truth), said.as_bool(), "{what}"),
                    // Nanoseconds come back as a number.
                    (Field::Long(nanos), Some(_)) if path == "time" => assert_eq!(nanos.cast_unsigned(), *time),
                    (field, said) => panic!("{what}: {field:?} is not {said:?}"),
                }
            }
        }
    }
}
