import { randomBytes } from 'node:crypto'
import { type AgentVerdict, type ChangedVerdict, changesOf, type ShownActivity } from '#fleet/verdict.ts'
import type { Clock } from '#runtime/clock.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import type { SqliteConnection } from '../file/connection.ts'
import type { FileIdentity } from '../file/database-path.ts'
import type { LivenessFile } from './liveness-file.ts'

/** Verdicts gone through and written in one go: a watchdog has other work meanwhile. */
const BATCH = 500

/** What was written last, and into which file. */
interface WrittenRound {
  readonly id: string
  /** For each agent, its verdict as one text. */
  readonly texts: Map<string, string>
  readonly file: FileIdentity | null
}

/** What the watchdog thinks of each agent, in the file of beats, for people to read. */
export class Verdicts {
  readonly #file: LivenessFile
  readonly #clock: Clock
  readonly #writer = randomBytes(6).toString('hex')
  #rounds = 0
  #lastRound: WrittenRound | undefined

  constructor(file: LivenessFile, clock: Clock) {
    this.#file = file
    this.#clock = clock
  }

  /**
   * Writes verdicts: only what differs where the last round was ours, else all. A large fleet is written in batches, each
   * in one transaction, and agents that are not named go last: a reader in between sees some verdicts of before. What
   * changes is told before it is written, so that a crash in between tells it twice and never not at all.
   */
  async judge(
    verdicts: Iterable<AgentVerdict>,
    onChange: (changes: readonly ChangedVerdict[]) => Promise<void>,
  ): Promise<void> {
    const before = this.#lastRound
    this.#lastRound = undefined // until this round is written, the next one writes all
    const texts = before?.texts ?? new Map<string, string>()
    const { changed, gone } = await compare(verdicts, texts)
    const found = await this.#file.read((connection) => connection.get<{ round: string }>('SELECT round FROM judging'))
    const file = this.#file.identity
    const isOurs = before !== undefined && before.id === found?.round && before.file === file
    for (const batch of batches(isOurs ? changed : verdicts)) {
      const changes = changesOf(await this.#written(batch), batch)
      if (changes.length > 0) await onChange(changes)
      await this.#file.write((connection) => putVerdicts(connection, batch))
      await yieldToEvents()
    }
    const id = `${this.#writer}.${++this.#rounds}`
    const at = this.#clock.wall()
    const isStillOurs = await this.#file.write((connection) => {
      const { round: now } = connection.get<{ round: string }>('SELECT round FROM judging') ?? {}
      for (const agent of isOurs ? gone : unnamed(connection, texts)) {
        connection.run('DELETE FROM verdicts WHERE agent = ?', agent)
      }
      connection.run('INSERT OR REPLACE INTO judging (id, at, round) VALUES (1, ?, ?)', at, id)
      return now === found?.round // else another watchdog wrote in between
    })
    if (file !== this.#file.identity) throw this.#file.removedWhileWriting()
    if (isStillOurs) this.#lastRound = { id, texts, file }
  }

  /** What is written of these agents. */
  async #written(verdicts: readonly AgentVerdict[]): Promise<Map<string, string>> {
    const rows = await this.#file.read((connection) =>
      connection.all<{ agent: string; verdict: string }>(
        'SELECT agent, verdict FROM verdicts WHERE agent IN (SELECT value FROM json_each(?))',
        JSON.stringify(verdicts.map(({ agent }) => agent)),
      ),
    )
    return new Map(rows?.map(({ agent, verdict }) => [agent, verdict]))
  }

  async verdicts(): Promise<{ readonly at: number | null; readonly verdicts: readonly AgentVerdict[] }> {
    const found = await this.#file.read((connection) => ({
      at: connection.get<{ at: number }>('SELECT at FROM judging')?.at ?? null,
      verdicts: connection
        .all<VerdictRow>('SELECT agent, verdict, since, host, why, until, activity FROM verdicts ORDER BY agent')
        .map(verdictOf),
    }))
    return found ?? { at: null, verdicts: [] }
  }
}

/** A verdict as its table has it. */
type VerdictRow = Omit<AgentVerdict, 'activity'> & { readonly activity: string | null }

function verdictOf({ activity, ...verdict }: VerdictRow): AgentVerdict {
  return { ...verdict, activity: activity === null ? null : (JSON.parse(activity) as ShownActivity) }
}

/** Brings `texts` up to date; answers which verdicts are new, and which agents are not named any more. */
async function compare(verdicts: Iterable<AgentVerdict>, texts: Map<string, string>) {
  const changed: AgentVerdict[] = []
  let count = 0
  for (const each of verdicts) {
    const text = textOf(each)
    if (texts.get(each.agent) !== text) {
      texts.set(each.agent, text)
      changed.push(each)
    }
    count += 1
    if (count % BATCH === 0) await yieldToEvents()
  }
  if (texts.size === count) return { changed, gone: [] }
  const named = new Set(Array.from(verdicts, ({ agent }) => agent))
  const gone = [...texts.keys()].filter((agent) => !named.has(agent))
  for (const agent of gone) texts.delete(agent)
  return { changed, gone }
}

function* batches<T>(items: Iterable<T>): Generator<T[]> {
  let batch: T[] = []
  for (const item of items) {
    batch.push(item)
    if (batch.length < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}

function putVerdicts(connection: SqliteConnection, verdicts: readonly AgentVerdict[]): void {
  for (const { agent, verdict, since, host, why = null, until = null, activity = null } of verdicts) {
    connection.run(
      'INSERT OR REPLACE INTO verdicts (agent, verdict, since, host, why, until, activity) VALUES (?, ?, ?, ?, ?, ?, ?)',
      agent,
      verdict,
      Math.round(since),
      host,
      why,
      until === null ? null : Math.round(until),
      activity === null ? null : JSON.stringify(activity),
    )
  }
}

/** Agents that have a verdict in the file and are not named any more. */
function unnamed(connection: SqliteConnection, texts: ReadonlyMap<string, string>): string[] {
  const all = connection.all<{ agent: string }>('SELECT agent FROM verdicts')
  return all.map(({ agent }) => agent).filter((agent) => !texts.has(agent))
}

function textOf({ verdict, since, host, why, until, activity }: AgentVerdict): string {
  const client = activity === null || activity === undefined ? '' : JSON.stringify(activity)
  return `${verdict} ${Math.round(since)} ${Math.round(until ?? 0)} ${host ?? ''} ${why ?? ''} ${client}`
}
