BEGIN TRANSACTION;
CREATE TABLE adapter_versions (
	domain_id VARCHAR(40) NOT NULL, 
	number INTEGER NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	snapshot_id VARCHAR(40) NOT NULL, 
	base_name VARCHAR(128) NOT NULL, 
	base_digest VARCHAR(128) NOT NULL, 
	adapter_digest VARCHAR(128) NOT NULL, 
	candidate_uri TEXT NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	verdict VARCHAR(16), 
	gate JSON, 
	evidence JSON, 
	metrics JSON NOT NULL, 
	code_version VARCHAR(64) NOT NULL, 
	created_time DATETIME NOT NULL, 
	updated_time DATETIME NOT NULL, 
	row_version INTEGER NOT NULL, reviewed_by VARCHAR(128), reviewed_time DATETIME, review_reason TEXT DEFAULT '' NOT NULL, 
	CONSTRAINT pk_adapter_versions PRIMARY KEY (domain_id, number), 
	CONSTRAINT fk_adapter_versions_domain_id FOREIGN KEY(domain_id) REFERENCES domains (id), 
	CONSTRAINT fk_adapter_versions_job_id FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT fk_adapter_versions_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshots (id), 
	CONSTRAINT fk_adapter_versions_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_adapter_versions_job_id UNIQUE (job_id)
);
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0006');
CREATE TABLE alias_changes (
	seq INTEGER NOT NULL, 
	domain_id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	name VARCHAR(32) NOT NULL, 
	from_version INTEGER, 
	to_version INTEGER NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	reason TEXT NOT NULL, 
	time DATETIME NOT NULL, 
	CONSTRAINT pk_alias_changes PRIMARY KEY (seq), 
	CONSTRAINT fk_alias_changes_domain_id FOREIGN KEY(domain_id) REFERENCES domains (id), 
	CONSTRAINT fk_alias_changes_tenant FOREIGN KEY(tenant) REFERENCES tenants (id)
);
CREATE TABLE aliases (
	domain_id VARCHAR(40) NOT NULL, 
	name VARCHAR(32) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	version INTEGER NOT NULL, 
	updated_time DATETIME NOT NULL, 
	row_version INTEGER NOT NULL, 
	CONSTRAINT pk_aliases PRIMARY KEY (domain_id, name), 
	CONSTRAINT fk_aliases_domain_id FOREIGN KEY(domain_id) REFERENCES domains (id), 
	CONSTRAINT fk_aliases_tenant FOREIGN KEY(tenant) REFERENCES tenants (id)
);
CREATE TABLE api_keys (
	seq INTEGER NOT NULL, 
	kid VARCHAR(64) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	scopes JSON NOT NULL, 
	domains JSON, 
	created_time DATETIME NOT NULL, 
	expires_time DATETIME, 
	revoked_time DATETIME, 
	CONSTRAINT pk_api_keys PRIMARY KEY (seq), 
	CONSTRAINT fk_api_keys_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_api_keys_kid UNIQUE (kid)
);
CREATE TABLE attempts (
	job_id VARCHAR(40) NOT NULL, 
	number INTEGER NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	submission_id VARCHAR(64) NOT NULL, 
	output_uri TEXT NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	reason VARCHAR(32), 
	detail TEXT NOT NULL, 
	created_time DATETIME NOT NULL, 
	launched_time DATETIME, 
	heartbeat_seen_time DATETIME, 
	finished_time DATETIME, 
	row_version INTEGER NOT NULL, 
	CONSTRAINT pk_attempts PRIMARY KEY (job_id, number), 
	CONSTRAINT fk_attempts_job_id FOREIGN KEY(job_id) REFERENCES jobs (id), 
	CONSTRAINT fk_attempts_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_attempts_submission_id UNIQUE (submission_id)
);
CREATE TABLE base_models (
	seq INTEGER NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	digest VARCHAR(128) NOT NULL, 
	uri TEXT NOT NULL, 
	created_time DATETIME NOT NULL, 
	CONSTRAINT pk_base_models PRIMARY KEY (seq), 
	CONSTRAINT uq_base_models_digest UNIQUE (digest)
);
CREATE TABLE counters (
	name VARCHAR(32) NOT NULL, 
	value INTEGER NOT NULL, 
	CONSTRAINT pk_counters PRIMARY KEY (name)
);
CREATE TABLE domains (
	seq INTEGER NOT NULL, 
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	name VARCHAR(63) NOT NULL, 
	description TEXT NOT NULL, 
	source_uri TEXT NOT NULL, 
	gate JSON NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	created_time DATETIME NOT NULL, 
	updated_time DATETIME NOT NULL, 
	row_version INTEGER NOT NULL, traffic JSON DEFAULT '{}' NOT NULL, schedule JSON DEFAULT '{}' NOT NULL, next_run_time DATETIME, source_role_arn TEXT, external_id VARCHAR(64) DEFAULT '' NOT NULL, 
	CONSTRAINT pk_domains PRIMARY KEY (seq), 
	CONSTRAINT fk_domains_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_domains_id UNIQUE (id)
);
CREATE TABLE events (
	seq INTEGER NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	time DATETIME NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	cause VARCHAR(256) NOT NULL, 
	noun VARCHAR(32) NOT NULL, 
	name VARCHAR(128) NOT NULL, 
	kind VARCHAR(64) NOT NULL, 
	domain_id VARCHAR(40), 
	data JSON NOT NULL, 
	CONSTRAINT pk_events PRIMARY KEY (seq)
);
CREATE TABLE jobs (
	seq INTEGER NOT NULL, 
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	domain_id VARCHAR(40) NOT NULL, 
	snapshot_id VARCHAR(40) NOT NULL, 
	base_name VARCHAR(128) NOT NULL, 
	base_digest VARCHAR(128) NOT NULL, 
	base_uri TEXT NOT NULL, 
	actor VARCHAR(128) NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	attempt INTEGER NOT NULL, 
	phase VARCHAR(32), 
	progress_percent DOUBLE NOT NULL, 
	eta_s DOUBLE, 
	metrics JSON NOT NULL, 
	phases JSON NOT NULL, 
	message TEXT NOT NULL, 
	heartbeat_time VARCHAR(40), 
	reason VARCHAR(32), 
	detail TEXT NOT NULL, 
	recipe JSON NOT NULL, 
	not_before DATETIME, 
	started_time DATETIME, 
	finished_time DATETIME, 
	version INTEGER, 
	created_time DATETIME NOT NULL, 
	updated_time DATETIME NOT NULL, 
	row_version INTEGER NOT NULL, priority VARCHAR(32) DEFAULT 'NORMAL' NOT NULL, trace VARCHAR(64), 
	CONSTRAINT pk_jobs PRIMARY KEY (seq), 
	CONSTRAINT fk_jobs_domain_id FOREIGN KEY(domain_id) REFERENCES domains (id), 
	CONSTRAINT fk_jobs_snapshot_id FOREIGN KEY(snapshot_id) REFERENCES snapshots (id), 
	CONSTRAINT fk_jobs_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_jobs_id UNIQUE (id)
);
CREATE TABLE leases (
	name VARCHAR(32) NOT NULL, 
	holder VARCHAR(128) NOT NULL, 
	token INTEGER NOT NULL, 
	expires_time DATETIME NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (name)
);
CREATE TABLE replies (
	seq INTEGER NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	kid VARCHAR(64) NOT NULL, 
	"key" VARCHAR(255) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	status INTEGER, 
	headers JSON NOT NULL, 
	body TEXT NOT NULL, 
	created_time DATETIME NOT NULL, 
	CONSTRAINT pk_replies PRIMARY KEY (seq), 
	CONSTRAINT fk_replies_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_replies_tenant_kid_key UNIQUE (tenant, kid, "key")
);
CREATE TABLE snapshots (
	seq INTEGER NOT NULL, 
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	domain_id VARCHAR(40) NOT NULL, 
	job_id VARCHAR(40) NOT NULL, 
	uri TEXT NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	digest VARCHAR(128), 
	summary JSON, 
	detail TEXT NOT NULL, 
	created_time DATETIME NOT NULL, 
	updated_time DATETIME NOT NULL, 
	row_version INTEGER NOT NULL, 
	CONSTRAINT pk_snapshots PRIMARY KEY (seq), 
	CONSTRAINT fk_snapshots_domain_id FOREIGN KEY(domain_id) REFERENCES domains (id), 
	CONSTRAINT fk_snapshots_tenant FOREIGN KEY(tenant) REFERENCES tenants (id), 
	CONSTRAINT uq_snapshots_id UNIQUE (id)
);
CREATE TABLE tenants (
	id VARCHAR(63) NOT NULL, 
	created_time DATETIME NOT NULL, max_concurrent_jobs INTEGER, max_queued_jobs INTEGER, max_domains INTEGER, 
	CONSTRAINT pk_tenants PRIMARY KEY (id)
);
CREATE TABLE webhooks (
	seq INTEGER NOT NULL, 
	id VARCHAR(40) NOT NULL, 
	tenant VARCHAR(63) NOT NULL, 
	url TEXT NOT NULL, 
	kinds JSON NOT NULL, 
	description TEXT NOT NULL, 
	cursor INTEGER NOT NULL, 
	state VARCHAR(32) NOT NULL, 
	secret_number INTEGER NOT NULL, 
	failures INTEGER NOT NULL, 
	failing_since DATETIME, 
	not_before DATETIME, 
	last_error TEXT NOT NULL, 
	delivered_time DATETIME, 
	created_time DATETIME NOT NULL, 
	updated_time DATETIME NOT NULL, 
	row_version INTEGER NOT NULL, 
	CONSTRAINT pk_webhooks PRIMARY KEY (seq), 
	CONSTRAINT uq_webhooks_id UNIQUE (id), 
	CONSTRAINT fk_webhooks_tenant FOREIGN KEY(tenant) REFERENCES tenants (id)
);
CREATE INDEX ix_api_keys_tenant ON api_keys (tenant);
CREATE UNIQUE INDEX uq_domains_living_name ON domains (tenant, name) WHERE state != 'DELETED';
CREATE INDEX ix_alias_changes_domain_id ON alias_changes (domain_id);
CREATE INDEX ix_snapshots_job_id ON snapshots (job_id);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE TRIGGER events_refuse_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_refuse_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER alias_changes_refuse_update BEFORE UPDATE ON alias_changes BEGIN SELECT RAISE(ABORT, 'alias_changes is append-only'); END;
CREATE TRIGGER alias_changes_refuse_delete BEFORE DELETE ON alias_changes BEGIN SELECT RAISE(ABORT, 'alias_changes is append-only'); END;
CREATE INDEX ix_events_tenant_seq ON events (tenant, seq);
CREATE INDEX ix_events_domain_seq ON events (tenant, domain_id, seq);
CREATE INDEX ix_events_name_seq ON events (tenant, name, seq);
CREATE INDEX ix_events_noun_seq ON events (tenant, noun, seq);
CREATE INDEX ix_domains_tenant_seq ON domains (tenant, seq);
CREATE INDEX ix_jobs_tenant_seq ON jobs (tenant, seq);
CREATE INDEX ix_jobs_domain_seq ON jobs (domain_id, seq);
CREATE INDEX ix_snapshots_domain_seq ON snapshots (domain_id, seq);
CREATE INDEX ix_adapter_versions_pending ON adapter_versions (updated_time) WHERE state = 'PENDING_APPROVAL';
CREATE INDEX ix_domains_next_run_time ON domains (next_run_time);
CREATE INDEX ix_webhooks_tenant ON webhooks (tenant);
CREATE INDEX ix_adapter_versions_verdict ON adapter_versions (verdict);
COMMIT;