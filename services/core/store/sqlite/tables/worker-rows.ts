import type { Worker } from '#fleet/worker.ts'
import type { InvitationRow, JoinRequestRow, WorkerRows } from '../../worker-registry.ts'
import type { SqliteConnection } from '../file/connection.ts'

const WORKER = `SELECT agent, role, conversation, key, recipient, host, serial, published,
  invited_until AS invitedUntil, joined_at AS joinedAt, revoked_at AS revokedAt, refusal FROM s2_workers`

/** The registry of workers, in the database. */
export class WorkerTable implements WorkerRows {
  readonly #connection: SqliteConnection

  constructor(connection: SqliteConnection) {
    this.#connection = connection
  }

  workers(): Worker[] {
    return this.#connection.all<Worker>(`${WORKER} ORDER BY agent`)
  }

  putWorker(worker: Worker): void {
    this.#connection.run(
      `INSERT INTO s2_workers
        (agent, role, conversation, key, recipient, host, serial, published, invited_until, joined_at, revoked_at, refusal)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (agent) DO UPDATE SET role = excluded.role, conversation = excluded.conversation,
          key = excluded.key, recipient = excluded.recipient, host = excluded.host, serial = excluded.serial,
          published = excluded.published, invited_until = excluded.invited_until, joined_at = excluded.joined_at,
          revoked_at = excluded.revoked_at, refusal = excluded.refusal`,
      worker.agent,
      worker.role,
      worker.conversation,
      worker.key,
      worker.recipient,
      worker.host,
      worker.serial,
      worker.published,
      worker.invitedUntil,
      worker.joinedAt,
      worker.revokedAt,
      worker.refusal,
    )
  }

  removeWorker(agent: string): void {
    this.#connection.run('DELETE FROM s2_workers WHERE agent = ?', agent)
  }

  file(agent: string): string | null {
    return (
      this.#connection.get<{ file: string | null }>('SELECT file FROM s2_workers WHERE agent = ?', agent)?.file ?? null
    )
  }

  putFile(agent: string, file: string | null): void {
    this.#connection.run('UPDATE s2_workers SET file = ? WHERE agent = ?', file, agent)
  }

  invitation(secretHash: string): InvitationRow | null {
    const row = this.#connection.get<InvitationRow>(
      `SELECT secret_hash AS secretHash, agent, role, ends_at AS endsAt, used_by AS usedBy
        FROM s2_invitations WHERE secret_hash = ?`,
      secretHash,
    )
    return row ?? null
  }

  putInvitation({ secretHash, agent, role, endsAt, usedBy }: InvitationRow): void {
    this.#connection.run(
      `INSERT INTO s2_invitations (secret_hash, agent, role, ends_at, used_by) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (secret_hash) DO UPDATE SET used_by = excluded.used_by`,
      secretHash,
      agent,
      role,
      endsAt,
      usedBy,
    )
  }

  requests(): JoinRequestRow[] {
    return this.#connection.all<JoinRequestRow>(
      'SELECT id, sealed, at, state, why FROM s2_join_requests ORDER BY at, id',
    )
  }

  putRequest({ id, sealed, at, state, why }: JoinRequestRow): void {
    this.#connection.run(
      `INSERT INTO s2_join_requests (id, sealed, at, state, why) VALUES (?, ?, ?, ?, ?)
        ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed, at = excluded.at, state = excluded.state, why = excluded.why`,
      id,
      sealed,
      at,
      state,
      why,
    )
  }

  removeRequest(id: string): void {
    this.#connection.run('DELETE FROM s2_join_requests WHERE id = ?', id)
  }

  forgetInvitations(before: number): void {
    this.#connection.run('DELETE FROM s2_invitations WHERE ends_at < ?', before)
  }

  removeUnusedInvitations(agent: string): void {
    this.#connection.run('DELETE FROM s2_invitations WHERE agent = ? AND used_by IS NULL', agent)
  }

  removeInvitations(agent: string): void {
    this.#connection.run('DELETE FROM s2_invitations WHERE agent = ?', agent)
  }
}
