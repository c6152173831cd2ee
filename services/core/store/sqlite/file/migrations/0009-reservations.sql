-- Files that agents have for a time. `repository` is a list of the names that it is called by, as JSON.
CREATE TABLE s2_reservations (
  holder TEXT NOT NULL,
  repository TEXT NOT NULL CHECK (json_valid(repository)),
  glob TEXT NOT NULL CHECK (length(glob) BETWEEN 1 AND 200),
  mode TEXT NOT NULL CHECK (mode IN ('exclusive', 'shared')),
  task TEXT,
  epoch INTEGER,
  note TEXT,
  since INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (holder, repository, glob),
  CHECK ((task IS NULL) = (epoch IS NULL))
) STRICT, WITHOUT ROWID;
