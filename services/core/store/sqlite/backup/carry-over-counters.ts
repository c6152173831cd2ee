import type { TaskName } from '#fleet/task-names.ts'
import type { SqliteConnection } from '../file/connection.ts'
import { fromPythonTime, pythonTime } from '../python/python-format.ts'
import { ReservationTable } from '../tables/reservation-rows.ts'

/** What a restored database lacks of the database whose place it takes. */
export interface Loss {
  readonly messages: number
  /** When the first of those messages was sent, milliseconds since 1970. */
  readonly since: number | null
  readonly conversations: number
  readonly tasks: number
  /** Tasks that had ended and are open again. */
  readonly reopened: number
}

/** How many ids and epochs are skipped where it is not known how far they had come. */
export const GAP = 1_000_000
const EPOCHS = 1_000

/**
 * Makes a database of the past ready to take the place of `former` (null where that cannot be read), so that nobody who knew
 * the former one is misled. Answers what is lost:
 *
 * - Ids that were given are not given again: a reader's cursor would pass over new messages.
 * - An epoch that was given fences again: tasks that may have changed hands are leased anew, with a higher one.
 * - Workers are those of the last registry: who was revoked stays out, and an invitation that was used is no good again. Who
 *   joined since has lost the conversation, and has to join anew.
 * - Files are reserved as they were last: who has them goes on without a word, and nobody else may.
 * - Tokens and ends of conversations are the last ones: a new token goes on to count, and an ended conversation stays ended.
 *   Where they are not known, conversations that lived at the time of the backup have the rest of their time from now.
 */
export function carryOver(
  fresh: SqliteConnection,
  former: SqliteConnection | null,
  madeAt: number,
  now: number,
): Loss | null {
  const isOurs = hasTable(fresh, 's2_tasks')
  if (former === null) {
    skipIds(fresh, (seq) => seq + GAP)
    prolong(fresh, madeAt, now)
    if (isOurs) for (const { id, epoch } of openTasks(fresh)) leaseAnew(fresh, id, epoch + EPOCHS)
    return null
  }
  const loss = lossOf(fresh, former)
  const given = new Map(sequences(former).map(({ name, seq }) => [name, seq]))
  skipIds(fresh, (seq, name) => Math.max(seq, given.get(name) ?? 0))
  takeOverConversations(fresh, former)
  if (hasTable(fresh, 's2_workers') && hasTable(former, 's2_workers')) takeOverWorkers(fresh, former)
  if (!isOurs || !hasTable(former, 's2_tasks')) return { ...loss, tasks: 0, reopened: 0 }
  takeOverFormerTokens(fresh, former)
  takeOverHolders(fresh, former)
  takeOverNames(fresh, former)
  takeOverReservations(fresh, former)
  return { ...loss, ...raiseEpochs(fresh, former) }
}

export function hasTable(connection: SqliteConnection, name: string): boolean {
  return connection.get("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?", name) !== undefined
}

interface Sequence {
  readonly name: string
  readonly seq: number
}

/** The last id that was given in each table that gives none twice. */
function sequences(connection: SqliteConnection): Sequence[] {
  return connection.all<Sequence>(
    `SELECT t.name, coalesce(s.seq, 0) AS seq FROM sqlite_schema t LEFT JOIN sqlite_sequence s ON s.name = t.name
      WHERE t.type = 'table' AND t.sql LIKE '%AUTOINCREMENT%'`,
  )
}

function skipIds(fresh: SqliteConnection, next: (seq: number, name: string) => number): void {
  for (const { name, seq } of sequences(fresh)) {
    fresh.run('DELETE FROM sqlite_sequence WHERE name = ?', name)
    fresh.run('INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)', name, next(seq, name))
  }
}

function lossOf(fresh: SqliteConnection, former: SqliteConnection): Omit<Loss, 'tasks' | 'reopened'> {
  const newest = sequences(fresh).find(({ name }) => name === 'messages')?.seq ?? 0
  const lost = former.get<{ count: number; first: number | null }>(
    'SELECT count(*) AS count, min(id) AS first FROM messages WHERE id > ?',
    newest,
  )
  const first = former.get<{ timestamp: unknown }>('SELECT timestamp FROM messages WHERE id = ?', lost?.first ?? 0)
  const kept = new Set(fresh.all<{ id: string }>('SELECT id FROM conversations').map(({ id }) => id))
  const gone = former.all<{ id: string }>('SELECT id FROM conversations').filter(({ id }) => !kept.has(id))
  return { messages: lost?.count ?? 0, since: fromPythonTime(first?.timestamp), conversations: gone.length }
}

/** Copies the texts as they are: a foreign writer may have written anything there. */
function takeOverConversations(fresh: SqliteConnection, former: SqliteConnection): void {
  const rows = former.all<{ id: string; a: string; b: string; end: string }>(
    'SELECT id, session_a_token AS a, session_b_token AS b, expires_at AS end FROM conversations',
  )
  for (const { id, a, b, end } of rows) {
    fresh.run(
      'UPDATE conversations SET session_a_token = ?, session_b_token = ?, expires_at = ? WHERE id = ?',
      a,
      b,
      end,
      id,
    )
  }
}

function takeOverWorkers(fresh: SqliteConnection, former: SqliteConnection): void {
  for (const table of ['s2_workers', 's2_invitations']) {
    fresh.run(`DELETE FROM ${table}`)
    for (const row of former.all<Readonly<Record<string, string | number | null>>>(`SELECT * FROM ${table}`)) {
      const columns = Object.keys(row)
      fresh.run(
        `INSERT INTO ${table} (${columns.join()}) VALUES (${columns.map(() => '?').join()})`,
        ...Object.values(row),
      )
    }
  }
  fresh.run(
    `UPDATE s2_workers SET conversation = NULL, key = NULL, recipient = NULL, file = NULL, joined_at = NULL
      WHERE conversation NOT IN (SELECT id FROM conversations)`,
  )
}

function takeOverFormerTokens(fresh: SqliteConnection, former: SqliteConnection): void {
  fresh.run('DELETE FROM s2_former_tokens')
  const rows = former.all<{ session: string; token: string; end: number }>(
    'SELECT session, token, ends_at AS end FROM s2_former_tokens',
  )
  for (const { session, token, end } of rows) {
    fresh.run('INSERT INTO s2_former_tokens (session, token, ends_at) VALUES (?, ?, ?)', session, token, end)
  }
}

function prolong(fresh: SqliteConnection, madeAt: number, now: number): void {
  for (const { id, end } of fresh.all<{ id: string; end: unknown }>(
    'SELECT id, expires_at AS end FROM conversations',
  )) {
    const endsAt = fromPythonTime(end) ?? 0
    if (endsAt <= madeAt) continue
    fresh.run('UPDATE conversations SET expires_at = ? WHERE id = ?', pythonTime(now + endsAt - madeAt), id)
  }
}

interface Hold {
  readonly id: string
  readonly epoch: number
  readonly holder: string | null
  readonly incarnation: string | null
}

const HOLD = 'SELECT id, epoch, holder, incarnation FROM s2_tasks'
const OPEN = "state IN ('pending', 'assigned', 'accepted', 'in_progress')"

function openTasks(connection: SqliteConnection): Hold[] {
  return connection.all<Hold>(`${HOLD} WHERE ${OPEN}`)
}

function raiseEpochs(fresh: SqliteConnection, former: SqliteConnection): { tasks: number; reopened: number } {
  const then = new Map(former.all<Hold>(HOLD).map((hold) => [hold.id, hold]))
  const isStillOpen = new Set(openTasks(former).map(({ id }) => id))
  let reopened = 0
  for (const hold of openTasks(fresh)) {
    const last = then.get(hold.id)
    if (!isStillOpen.has(hold.id)) reopened += 1
    else if (last !== undefined && isSameHold(hold, last)) continue
    leaseAnew(fresh, hold.id, Math.max(hold.epoch, last?.epoch ?? hold.epoch + EPOCHS) + 1)
  }
  const kept = new Set(fresh.all<{ id: string }>('SELECT id FROM s2_tasks').map(({ id }) => id))
  return { tasks: [...then.keys()].filter((id) => !kept.has(id)).length, reopened }
}

/** Whoever held a task since the backup may still report on it, too late, and is told so. An older S2 kept no epochs there. */
function takeOverHolders(fresh: SqliteConnection, former: SqliteConnection): void {
  if (!hasTable(fresh, 's2_task_holders') || !hasTable(former, 's2_task_holders')) return
  for (const { task, holder, epoch = 1 } of former.all<{ task: string; holder: string; epoch?: number }>(
    'SELECT * FROM s2_task_holders',
  )) {
    fresh.run(
      `INSERT INTO s2_task_holders (task, holder, epoch) SELECT id, ?, ? FROM s2_tasks WHERE id = ?
        ON CONFLICT (task, holder) DO UPDATE SET epoch = max(epoch, excluded.epoch)`,
      holder,
      epoch,
      task,
    )
  }
}

/** By what names conversations have called tasks since: their reports go on to say them. */
function takeOverNames(fresh: SqliteConnection, former: SqliteConnection): void {
  if (!hasTable(fresh, 's2_task_names') || !hasTable(former, 's2_task_names')) return
  for (const { conversation, name, task } of former.all<TaskName>(
    'SELECT conversation, name, task FROM s2_task_names',
  )) {
    fresh.run(
      'INSERT OR IGNORE INTO s2_task_names (conversation, name, task) SELECT ?, ?, id FROM s2_tasks WHERE id = ?',
      conversation,
      name,
      task,
    )
  }
}

function takeOverReservations(fresh: SqliteConnection, former: SqliteConnection): void {
  if (!hasTable(fresh, 's2_reservations') || !hasTable(former, 's2_reservations')) return
  const [rows, last] = [new ReservationTable(fresh), new ReservationTable(former)]
  for (const each of rows.all()) rows.remove(each)
  for (const each of last.all()) rows.put(each)
}

function isSameHold(one: Hold, other: Hold): boolean {
  return one.epoch === other.epoch && one.holder === other.holder && one.incarnation === other.incarnation
}

function leaseAnew(fresh: SqliteConnection, id: string, epoch: number): void {
  fresh.run(
    `UPDATE s2_tasks SET epoch = ?, incarnation = NULL,
      state = CASE WHEN holder IS NULL THEN 'pending' ELSE 'assigned' END WHERE id = ?`,
    epoch,
    id,
  )
}
