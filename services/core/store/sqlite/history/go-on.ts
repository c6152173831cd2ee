import { EVERY_CHANNEL, type NewIncident } from '#fleet/incident.ts'
import { carryOver, GAP } from '../backup/carry-over-counters.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { Tables } from '../tables/tables.ts'
import { type HistoryMark, IDS_END, lastIdOf, lookedUpTo, type StepBack } from './history-mark.ts'

/** What was done to a database that does not go on from what S2 had seen of it. */
export interface WentOn {
  readonly stepBack: StepBack
  /** The last id that S2 had seen, and the last one that the database knew of. */
  readonly seen: number
  readonly found: number
  /** Unread messages that got new ids. */
  readonly renumbered: number
  /** From which id on it gives them now. */
  readonly from: number
}

/**
 * Makes a database go on from a mark that it does not know, so that nobody who knew its later state is misled; in the caller's
 * transaction. Ids that readers have seen are given to no other message: new ones begin beyond them, and unread messages
 * that foreign writers put there meanwhile are moved beyond them too. Where an earlier state was put back, epochs and
 * conversations are treated as by a restore that cannot read the former database.
 */
export function goOnFrom(tables: Tables, mark: HistoryMark, stepBack: StepBack, now: number): WentOn {
  const { connection, chain, conversations, incidents, messages } = tables
  const found = lastIdOf(connection)
  const offset = Math.max(mark.message, found) + GAP
  const range = rangeOfNew(connection, found, stepBack)
  if (stepBack === 'chain') {
    carryOver(connection, null, newestEntryAt(connection) ?? now, now)
    conversations.forgetAll()
  }
  const isRoom = found + offset < IDS_END // beyond, no host would take a message: then the ids stay as they are
  const renumbered = isRoom ? renumber(connection, offset, range) : 0
  const from = isRoom ? raiseIds(connection, found + offset) : found + 1
  messages.prune()
  const outcome: WentOn = { stepBack, seen: mark.message, found, renumbered, from }
  chain.append({
    actor: 'bridge',
    action: stepBack === 'chain' ? 'database_restored' : 'ids_raised',
    details: { ...outcome, ...(stepBack === 'chain' ? { replaced: { seq: mark.entry, hash: mark.hash } } : {}) },
  })
  const incident = incidentOf(outcome)
  incidents.openIncident(incident, [EVERY_CHANNEL])
  incidents.closeIncident(incident.cause, [EVERY_CHANNEL], wordsOf(outcome))
  return outcome
}

/** Of the ids given anew, those whose messages came after the step back. */
interface Range {
  readonly after: number
  readonly upTo: number
  /** Whether what was taken in of these messages is told by their ids. */
  readonly isKnown: boolean
}

/**
 * A database that was put back as a whole tells how far its messages had been looked through at that time: those after it are
 * new, or were sent in the same instant. Where only the ids began anew, any unread message may be new.
 */
function rangeOfNew(connection: SqliteConnection, found: number, stepBack: StepBack): Range {
  const looked = lookedUpTo(connection)
  const isKnown = stepBack === 'chain' && looked <= found
  return { after: isKnown ? looked : 0, upTo: found, isKnown }
}

const NEW_ONES = 'read = 0 AND id > ? AND id <= ?'

function renumber(connection: SqliteConnection, offset: number, { after, upTo, isKnown }: Range): number {
  const letters = `WHERE message IN (SELECT id FROM messages WHERE ${NEW_ONES})`
  if (isKnown)
    connection.run(`UPDATE s2_letters SET message = message + CAST(? AS INTEGER) ${letters}`, offset, after, upTo)
  else connection.run(`DELETE FROM s2_letters ${letters}`, after, upTo)
  return connection.run(`UPDATE messages SET id = id + CAST(? AS INTEGER) WHERE ${NEW_ONES}`, offset, after, upTo)
}

/** Answers the next id. */
function raiseIds(connection: SqliteConnection, last: number): number {
  connection.run("DELETE FROM sqlite_sequence WHERE name = 'messages'")
  connection.run("INSERT INTO sqlite_sequence (name, seq) VALUES ('messages', CAST(? AS INTEGER))", last)
  return last + 1
}

function newestEntryAt(connection: SqliteConnection): number | null {
  return connection.get<{ at: number }>('SELECT at FROM s2_audit ORDER BY seq DESC LIMIT 1')?.at ?? null
}

function incidentOf({ stepBack, seen, found }: WentOn): NewIncident {
  const summary =
    stepBack === 'chain'
      ? `an earlier state of the database was put back without s2 restore: what was sent and done since is not in it (messages up to ${seen} had been given ids, and it knew of ${found}); tokens that were replaced and workers that were revoked since may be in force again`
      : `the table of messages began to give ids again that it had given before: it had come to ${seen}, and knew of ${found}`
  return { cause: `database:${stepBack}`, kind: 'database', agent: null, summary }
}

function wordsOf({ renumbered, from }: WentOn): string {
  const unread = renumbered === 0 ? '' : `, and ${renumbered} unread messages got new ones`
  return `new messages have ids from ${from} on${unread}`
}
