-- A history of form 1 (nuwrap 0.1.0), as tests/builder/test_store_migrations.py opens it. Never change it.

CREATE TABLE about (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL);

CREATE TABLE projects (
    seq INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    description TEXT NOT NULL,
    labels TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);

CREATE TABLE functions (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    spec TEXT NOT NULL,
    folder TEXT NOT NULL,
    kind TEXT NOT NULL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
);
CREATE INDEX functions_latest ON functions (project, name, seq);

CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    function TEXT NOT NULL REFERENCES functions (id) ON DELETE CASCADE,
    action TEXT NOT NULL,
    spec TEXT NOT NULL,
    created TEXT NOT NULL,
    UNIQUE (function, action)
);
CREATE INDEX tasks_project ON tasks (project);

CREATE TABLE runs (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    function TEXT NOT NULL,
    function_id TEXT NOT NULL,
    task TEXT NOT NULL,
    action TEXT NOT NULL,
    platform TEXT NOT NULL,
    spec TEXT NOT NULL,
    folder TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    exit_code INTEGER,
    created TEXT NOT NULL,
    started TEXT NOT NULL,
    finished TEXT NOT NULL,
    service TEXT NOT NULL,
    outputs TEXT NOT NULL
);
CREATE INDEX runs_function ON runs (project, function, seq);
CREATE INDEX runs_project ON runs (project, seq);
CREATE INDEX runs_state ON runs (state, seq);

-- Apart from the run: a list of runs does not read them, and they may be large.
CREATE TABLE results (
    run TEXT NOT NULL PRIMARY KEY REFERENCES runs (id) ON DELETE CASCADE,
    result TEXT NOT NULL
);

CREATE TABLE states (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    at TEXT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX states_run ON states (run, seq);

CREATE TABLE entities (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    project TEXT NOT NULL REFERENCES projects (name) ON DELETE CASCADE,
    type TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    id TEXT NOT NULL,
    path TEXT NOT NULL,
    spec TEXT NOT NULL,
    metadata TEXT NOT NULL,
    created TEXT NOT NULL
);
CREATE INDEX entities_latest ON entities (project, type, name, seq);

CREATE TABLE lineage (
    seq INTEGER PRIMARY KEY,
    run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    relation TEXT NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    UNIQUE (run, relation, name, key)
);
CREATE INDEX lineage_key ON lineage (key, seq);

PRAGMA user_version = 1;
INSERT INTO about VALUES ('nuwrap', '0.1.0');
INSERT INTO projects VALUES
    (1, 'p', 'größe', '["a"]', '2026-11-24T09:00:00.000+00:00', '2026-11-24T09:00:00.000+00:00');
INSERT INTO functions VALUES
    (1, 'v1', 'p', 'f', '{"code_src":"f.py","handler":"f"}', '/src', 'python',
     '2026-11-24T09:00:01.000+00:00', '2026-11-24T09:00:01.000+00:00');
INSERT INTO tasks VALUES (1, 't1', 'p', 'v1', 'job', '{}', '2026-11-24T09:00:01.000+00:00');
INSERT INTO runs VALUES
    (1, 'run-1-of-form-1', 'p', 'f', 'v1', 't1', 'job', 'local', '{}', '/runs/1', 'COMPLETED', '', 1, 0,
     '2026-11-24T09:00:02.000+00:00', '2026-11-24T09:00:02.000+00:00', '2026-11-24T09:00:03.000+00:00',
     '{}', '{"clean":{"key":"store://p/dataitem/table/clean:1"}}');
INSERT INTO results VALUES ('run-1-of-form-1', '{"results":{"rows":3}}');
INSERT INTO states VALUES
    (1, 'run-1-of-form-1', '2026-11-24T09:00:02.000+00:00', 'CREATED', ''),
    (2, 'run-1-of-form-1', '2026-11-24T09:00:03.000+00:00', 'COMPLETED', '');
INSERT INTO entities VALUES
    (1, 'store://p/dataitem/table/clean:1', 'p', 'dataitem', 'table', 'clean', '1', '/data/c', '{}', '{}',
     '2026-11-24T09:00:03.000+00:00');
INSERT INTO lineage VALUES
    (1, 'run-1-of-form-1', 'produces', 'clean', 'store://p/dataitem/table/clean:1');
