import type { Clock } from '#runtime/clock.ts'
import { Chain } from './audit-chain.ts'
import type { Connection } from '../file/connection.ts'
import { Conversations } from './conversations.ts'
import { Incidents } from './incidents.ts'
import { Messages } from './messages.ts'
import type { Oddities } from './malformed-rows.ts'
import type { FileIdentity } from '../file/database-path.ts'
import { Tasks } from './tasks.ts'

/** What the tables of one database file hold, by matter, all over one handle. */
export interface Rooms {
  readonly file: FileIdentity
  readonly connection: Connection
  readonly chain: Chain
  readonly conversations: Conversations
  readonly messages: Messages
  readonly tasks: Tasks
  readonly incidents: Incidents
}

/** Where rooms come from: the one database that is written, or whichever a reader finds. */
export interface Source extends Disposable {
  /** The rooms as they are now; null while there is no database. */
  current(): Rooms | null
  /** The rooms, or `unavailable`. */
  demand(): Rooms
}

export function furnish(connection: Connection, file: FileIdentity, given: Clock, oddities: Oddities): Rooms {
  const clock: Clock = {
    now: () => given.now(),
    wall: () => Math.floor(given.wall()),
    sleep: (ms, signal) => given.sleep(ms, signal),
  } // times are kept whole
  const chain = new Chain(connection, clock)
  const conversations = new Conversations(connection, clock, oddities)
  const messages = new Messages(connection, conversations, chain, clock, oddities)
  const tasks = new Tasks(connection, conversations, messages, chain, clock)
  const incidents = new Incidents(connection, chain, clock)
  return { file, connection, chain, conversations, messages, tasks, incidents }
}

/** What tells this database from every other, whatever file it lies in; null where S2 has not written to it. */
export function birthmarkOf({ connection }: Rooms): string | null {
  const row = connection.get<{ mark: string }>('SELECT hex(substr(token_key, 1, 8)) AS mark FROM s2_secrets')
  return row?.mark ?? null
}
