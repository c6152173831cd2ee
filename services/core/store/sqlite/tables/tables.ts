import type { S2Error } from '#fleet/errors.ts'
import { EVERY_CHANNEL } from '#fleet/incident.ts'
import { conversationOf, partnerOf } from '#fleet/session-id.ts'
import type { Clock } from '#runtime/clock.ts'
import { MessageDeliveries } from '../../message-deliveries.ts'
import { RecordedActs } from '../../recorded-acts.ts'
import { ReservationRegistry, taskOrNull } from '../../reservation-registry.ts'
import { WorkerRegistry } from '../../worker-registry.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { FileIdentity } from '../file/database-path.ts'
import type { PythonReaders } from '../python/python-readers.ts'
import { AuditChainTable } from './audit-chain.ts'
import { ConditionTable } from './conditions.ts'
import { ConversationTable } from './conversations.ts'
import { SqliteDeliveryRows } from './delivery-rows.ts'
import { IncidentTable } from './incidents.ts'
import type { MalformedRows } from './malformed-rows.ts'
import { MessageTable } from './messages.ts'
import { ReservationTable } from './reservation-rows.ts'
import { TaskTable } from './tasks.ts'
import { WorkerTable } from './worker-rows.ts'

/** The tables of one database file, all over one connection. */
export interface Tables {
  readonly file: FileIdentity
  readonly connection: SqliteConnection
  readonly chain: AuditChainTable
  readonly acts: RecordedActs
  readonly conversations: ConversationTable
  readonly workers: WorkerRegistry
  readonly messages: MessageTable
  readonly deliveries: MessageDeliveries
  readonly tasks: TaskTable
  readonly conditions: ConditionTable
  readonly incidents: IncidentTable
  readonly reservations: ReservationRegistry
}

/** Where the tables come from: the one database that is written, or whichever a reader finds. */
export interface TablesSource extends Disposable {
  /** The tables of the database that is there now; null while there is none. */
  current(): Tables | null
  /** Those that the last look found, whatever became of their file since; null where there are none. Costs nothing. */
  readonly held: Tables | null
  /** The same; throws `unavailable` where there is no database, or where its files were changed by others. */
  demand(): Tables
  /** Looks at the files now. Answers why the database can be used no more; null while it can. */
  look(): S2Error | null
  /** Looks at the files for the last time, and waits until what was held is kept where others changed them. */
  settle(): Promise<void>
}

export function openTables(
  connection: SqliteConnection,
  file: FileIdentity,
  given: Clock,
  malformed: MalformedRows,
  pythonReaders: PythonReaders,
): Tables {
  const clock: Clock = {
    now: () => given.now(),
    wall: () => Math.floor(given.wall()),
    sleep: (ms, signal) => given.sleep(ms, signal),
  } // times are kept as whole milliseconds
  const chain = new AuditChainTable(connection, clock)
  const conversations = new ConversationTable(connection, chain, clock, malformed)
  const workers = new WorkerRegistry({
    rows: new WorkerTable(connection),
    conversations,
    clock,
    audit: (act) => chain.append(act),
  })
  const messages = new MessageTable(connection, conversations, chain, clock, malformed)
  const incidents = new IncidentTable(connection, chain, clock)
  const tasks = new TaskTable(connection, conversations, messages, chain, incidents, clock, pythonReaders)
  const deliveries = new MessageDeliveries({
    rows: new SqliteDeliveryRows(connection, messages, conversations, tasks),
    clock,
    audit: (act) => chain.append(act),
    tell: (incident) => incidents.openIncident(incident, [EVERY_CHANNEL]),
    closeIncident: (...closed) => incidents.closeIncident(...closed),
  })
  const conditions = new ConditionTable(connection, conversations, clock)
  const reservations = new ReservationRegistry({
    rows: new ReservationTable(connection),
    conversations: {
      isAlive: (id) => conversations.isLiveNow(id), // one that was just ended holds nothing
      endOf: (session) => conversations.endOf(session),
      demandLive: (id) => void conversations.demandLive(id),
    },
    clock,
    task: taskOrNull((id) => tasks.task(id)),
    audit: (act) => chain.append(act),
    tell: (to, key, draft) =>
      conversations.isLiveNow(conversationOf(to)) && messages.sendOnce(partnerOf(to), key, draft),
  })
  return {
    file,
    connection,
    chain,
    acts: new RecordedActs({ chain, incidents, conversations }),
    conversations,
    workers,
    messages,
    deliveries,
    tasks,
    conditions,
    incidents,
    reservations,
  }
}

/** Identifies a database whatever its file is called, also after a restore; null where S2 never wrote to it. */
export function birthmarkOf({ connection }: Tables): string | null {
  const row = connection.get<{ mark: string }>('SELECT hex(substr(token_key, 1, 8)) AS mark FROM s2_secrets')
  return row?.mark ?? null
}
