-- Files, and the contents that they share.

CREATE TABLE blobs (
    digest     bytea  PRIMARY KEY,               -- SHA-256 of the content
    size_bytes bigint NOT NULL
);

CREATE TABLE files (
    file_id        uuid        PRIMARY KEY,
    workspace_id   uuid        NOT NULL,
    environment_id uuid        NOT NULL,
    digest         bytea       NOT NULL,
    ready          boolean     NOT NULL DEFAULT false, -- its content is in its place: before that nobody sees it
    created_at     timestamptz NOT NULL,
    announced_at   timestamptz NOT NULL DEFAULT now(),
    expires_at     timestamptz,
    purpose        text        NOT NULL,
    filename       text        NOT NULL,
    CONSTRAINT files_belong_to_an_environment FOREIGN KEY (workspace_id, environment_id)
        REFERENCES environments (workspace_id, environment_id),
    CONSTRAINT files_have_a_content FOREIGN KEY (digest) REFERENCES blobs
);
-- Serves the list.
CREATE INDEX files_by_environment ON files (environment_id, file_id) WHERE ready;
-- Serves the list of one purpose.
CREATE INDEX files_by_purpose ON files (purpose, environment_id, file_id) WHERE ready;
-- Serves the removal of contents: whether a file refers to one.
CREATE INDEX files_by_content ON files (digest);
-- Serves the sweep of what expired.
CREATE INDEX files_expiring ON files (expires_at) WHERE expires_at IS NOT NULL;
-- Serves the sweep of what was never finished.
CREATE INDEX files_unready ON files (announced_at) WHERE NOT ready;
