import type { MessageDraft, StoredMessage } from '#fleet/message.ts'
import type { Recipient } from '#fleet/peer-messages.ts'
import { parseSession, partnerOf, type SessionId } from '#fleet/session-id.ts'
import { DEAD_MAX, type DeliveryRecord, type DeliveryRows, type TrackedMessage } from '../../message-deliveries.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { ConversationTable } from './conversations.ts'
import type { MessageTable } from './messages.ts'
import type { TaskTable } from './tasks.ts'

interface DeliveryRow {
  readonly state: 'delivered' | 'leased'
  readonly delivered_at: number | null
  readonly leased_at: number | null
  readonly leased_by: string | null
  readonly leased_until: number | null
  readonly leases: number
  readonly acked_at: number | null
  readonly dead_at: number | null
  readonly dead_why: string | null
  readonly settled_as: number | null
}

const SAVE = `
  INSERT INTO s2_deliveries
      (message, state, delivered_at, leased_at, leased_by, leased_until, leases, acked_at, dead_at, dead_why, settled_as)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (message) DO UPDATE SET state = excluded.state, delivered_at = excluded.delivered_at,
      leased_at = excluded.leased_at, leased_by = excluded.leased_by, leased_until = excluded.leased_until,
      leases = excluded.leases, acked_at = excluded.acked_at, dead_at = excluded.dead_at, dead_why = excluded.dead_why,
      settled_as = excluded.settled_as`
const DEAD = `
  SELECT d.message AS id FROM s2_deliveries d JOIN messages m ON m.id = d.message
    WHERE d.dead_at IS NOT NULL AND d.settled_as IS NULL AND (? IS NULL OR (m.conversation_id = ? AND m.to_session = ?))
    ORDER BY d.message LIMIT ${DEAD_MAX}`

/** How far messages have come, beside the table that the Python bridge has too. */
export class SqliteDeliveryRows implements DeliveryRows {
  readonly #connection: SqliteConnection
  readonly #messages: MessageTable
  readonly #conversations: ConversationTable
  readonly #tasks: Pick<TaskTable, 'noteAbsorbed'>

  constructor(
    connection: SqliteConnection,
    messages: MessageTable,
    conversations: ConversationTable,
    tasks: Pick<TaskTable, 'noteAbsorbed'>,
  ) {
    this.#connection = connection
    this.#messages = messages
    this.#conversations = conversations
    this.#tasks = tasks
  }

  find(id: number): TrackedMessage | null {
    const found = this.#messages.findWhole(id)
    if (found === null) return null
    const row = this.#connection.get<DeliveryRow>('SELECT * FROM s2_deliveries WHERE message = ?', id)
    return { ...found, record: recordOf(row) }
  }

  unacked(reader: SessionId, after: number, limit: number): readonly StoredMessage[] {
    return this.#messages.unacked(reader, after, limit).messages
  }

  save(id: number, { dead, ...record }: DeliveryRecord): void {
    this.#connection.run(
      SAVE,
      id,
      record.state ?? 'delivered',
      record.deliveredAt,
      record.leasedAt,
      record.leasedBy,
      record.leasedUntil,
      record.leases,
      record.ackedAt,
      dead?.at ?? null,
      dead?.why ?? null,
      dead?.settledAs ?? null,
    )
  }

  end(id: number): void {
    this.#connection.run('UPDATE messages SET read = 1 WHERE id = ?', id)
  }

  /** What is sent again said what it says of tasks already. */
  post({ to, writer }: Recipient, draft: MessageDraft, own: 'own' | 'of an agent') {
    const message = this.#messages.post(partnerOf(to), draft, { mark: own === 'own' ? 'mail' : null, writer })
    this.#tasks.noteAbsorbed(message.id)
    return message
  }

  dead(reader: SessionId | null): readonly number[] {
    const { conversation, side } = reader === null ? { conversation: null, side: null } : parseSession(reader)
    return this.#connection.all<{ id: number }>(DEAD, conversation, conversation, side).map(({ id }) => id)
  }

  isLive(session: SessionId): boolean {
    return this.#conversations.isLiveNow(parseSession(session).conversation)
  }

  agentOf(session: SessionId): string {
    return this.#conversations.endOf(session)?.agent ?? session
  }
}

function recordOf(row: DeliveryRow | undefined): DeliveryRecord {
  const dead_at = row?.dead_at ?? null
  return {
    state: row?.state ?? null,
    deliveredAt: row?.delivered_at ?? null,
    leasedAt: row?.leased_at ?? null,
    leasedBy: row?.leased_by ?? null,
    leasedUntil: row?.leased_until ?? null,
    leases: row?.leases ?? 0,
    ackedAt: row?.acked_at ?? null,
    dead: dead_at === null ? null : { at: dead_at, why: row?.dead_why ?? '', settledAs: row?.settled_as ?? null },
  }
}
