-- name: announce_file
-- A file whose content is about to be placed. The row of the content is locked, so that it cannot be removed beneath us.
-- Params: $1 digest, $2 size, $3 file, $4 workspace, $5 environment, $6 created, $7 expires, $8 purpose, $9 filename
WITH held AS (
    INSERT INTO blobs (digest, size_bytes) VALUES ($1, $2)
    ON CONFLICT (digest) DO UPDATE SET size_bytes = EXCLUDED.size_bytes
    RETURNING digest
)
INSERT INTO files (file_id, workspace_id, environment_id, digest, created_at, expires_at, purpose, filename)
SELECT $3::uuid, $4::uuid, $5::uuid, held.digest, $6::timestamptz, $7::timestamptz, $8::text, $9::text FROM held
ON CONFLICT (file_id) DO UPDATE SET digest = EXCLUDED.digest, announced_at = now() WHERE NOT files.ready
RETURNING file_id;

-- name: make_file_ready
-- The content is in its place.
-- Params: $1 file
UPDATE files f SET ready = true FROM blobs b WHERE f.file_id = $1 AND b.digest = f.digest RETURNING f.*, b.size_bytes;

-- name: get_file
-- One file, unless it expired.
-- Params: $1 environment, $2 file
SELECT f.*, b.size_bytes FROM files f JOIN blobs b USING (digest)
WHERE f.file_id = $2 AND f.environment_id = $1 AND f.ready AND (f.expires_at IS NULL OR f.expires_at > now());

-- name: newest_file
-- The newest file of all environments.
SELECT f.*, b.size_bytes FROM files f JOIN blobs b USING (digest)
WHERE f.ready AND (f.expires_at IS NULL OR f.expires_at > now()) ORDER BY f.file_id DESC LIMIT 1;

-- name: files_newest_first
-- A page of the files of an environment. Uses files_by_environment.
-- Params: $1 environment, $2 before this file or null, $3 how many
SELECT f.*, b.size_bytes FROM files f JOIN blobs b USING (digest)
WHERE f.environment_id = $1 AND f.ready AND f.file_id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
  AND (f.expires_at IS NULL OR f.expires_at > now())
ORDER BY f.file_id DESC LIMIT $3;

-- name: files_oldest_first
-- A page of the files of an environment. Uses files_by_environment.
-- Params: $1 environment, $2 after this file or null, $3 how many
SELECT f.*, b.size_bytes FROM files f JOIN blobs b USING (digest)
WHERE f.environment_id = $1 AND f.ready AND f.file_id > coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (f.expires_at IS NULL OR f.expires_at > now())
ORDER BY f.file_id LIMIT $3;

-- name: files_of_purpose_newest_first
-- A page of the files of one purpose. Uses files_by_purpose.
-- Params: $1 environment, $2 before this file or null, $3 how many, $4 purpose
SELECT f.*, b.size_bytes FROM files f JOIN blobs b USING (digest)
WHERE f.purpose = $4 AND f.environment_id = $1 AND f.ready
  AND f.file_id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
  AND (f.expires_at IS NULL OR f.expires_at > now())
ORDER BY f.file_id DESC LIMIT $3;

-- name: files_of_purpose_oldest_first
-- A page of the files of one purpose. Uses files_by_purpose.
-- Params: $1 environment, $2 after this file or null, $3 how many, $4 purpose
SELECT f.*, b.size_bytes FROM files f JOIN blobs b USING (digest)
WHERE f.purpose = $4 AND f.environment_id = $1 AND f.ready
  AND f.file_id > coalesce($2, '00000000-0000-0000-0000-000000000000'::uuid)
  AND (f.expires_at IS NULL OR f.expires_at > now())
ORDER BY f.file_id LIMIT $3;

-- name: delete_file
-- Forget one file, unless it expired.
-- Params: $1 environment, $2 file
DELETE FROM files f USING blobs b
WHERE f.file_id = $2 AND f.environment_id = $1 AND f.ready AND b.digest = f.digest
  AND (f.expires_at IS NULL OR f.expires_at > now())
RETURNING b.digest, b.size_bytes;

-- name: forget_files
-- Forget what expired, and what was announced and never finished. Uses files_expiring and files_unready.
-- Params: $1 expired by, $2 announced before, $3 how many of each
DELETE FROM files f USING blobs b
WHERE b.digest = f.digest AND f.file_id IN (
    (SELECT file_id FROM files WHERE expires_at IS NOT NULL AND expires_at <= $1 LIMIT $3)
    UNION ALL
    (SELECT file_id FROM files WHERE NOT ready AND announced_at < $2 LIMIT $3)
)
RETURNING b.digest, b.size_bytes;

-- name: unused_blobs
-- Contents without a file.
-- Params: $1 how many
SELECT b.digest FROM blobs b WHERE NOT EXISTS (SELECT FROM files f WHERE f.digest = b.digest) LIMIT $1;

-- name: lock_blob
-- Whoever announces a file of this content waits from here on; and we wait for those that do so now.
-- Params: $1 digest
SELECT digest FROM blobs WHERE digest = $1 FOR UPDATE;

-- name: forget_blob
-- A statement of its own after the lock: only then does it see the files that were announced before it.
-- Params: $1 digest
DELETE FROM blobs b WHERE b.digest = $1 AND NOT EXISTS (SELECT FROM files f WHERE f.digest = b.digest)
RETURNING b.digest;
