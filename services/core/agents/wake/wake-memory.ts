import { join } from 'node:path'
import { isSessionId, type SessionId } from '#fleet/session-id.ts'
import { HOUR_MS, RUNGS, type Rung } from '#fleet/wake-ladder.ts'
import { yieldToEvents } from '#runtime/yield-to-events.ts'
import { publish } from '#spool/atomic-files.ts'
import { readPlainFileSync } from '#spool/plain-file.ts'
import type { ClientSession } from '../client-session.ts'

const MEMORY_FILE_MAX = 1024 * 1024
/** Agents with their clients that are remembered; the oldest go first. */
const WORKED_MAX = 1_000

/** Which rung was read by an agent, as its client was then. */
export interface WorkedRung {
  readonly rung: Rung
  /** From what was sent to the proof, milliseconds. */
  readonly readMs: number
  /** Milliseconds since 1970. */
  readonly at: number
}

/** An agent that the fleet was told of as not woken. */
export interface UnwokenAgent {
  /** Those that its mail or its task was for. */
  readonly sessions: readonly SessionId[]
  /** The task that its client idled with, and how that rest is told from a later one; null where mail waited. */
  readonly idleWith: { readonly task: string; readonly rest: string } | null
}

/** Where `s2 wake-test` keeps which rung a session was seen to read: the watcher's own file is written by the watcher alone. */
export function trialsFile(state: string): string {
  return join(state, 'watcher', 'wake-test.json')
}

/** The name that trials of a client's session are kept under. */
export function trialName({ session }: Pick<ClientSession, 'session'>): string {
  return session ?? 'any'
}

interface Kept {
  readonly worked?: Readonly<Record<string, WorkedRung>>
  readonly sent?: Readonly<Record<string, readonly number[]>>
  readonly unwoken?: Readonly<Record<string, unknown>>
}

/**
 * Which rung worked for each agent and version of its client, and when something was sent to each agent, on disk: a restart begins
 * neither the ladder nor the budget anew. One program writes one file.
 */
export class WakeMemory {
  readonly #path: string
  readonly #worked = new Map<string, WorkedRung>()
  readonly #sent = new Map<string, readonly number[]>()
  readonly #unwoken = new Map<string, UnwokenAgent>()
  /** One after the other, so that an older record never replaces a newer one. */
  #saving: Promise<void> = Promise.resolve()

  private constructor(path: string) {
    this.#path = path
  }

  /** Reads the file. One that makes no sense counts as empty: then wakes begin with the first rung. */
  static async open(path: string): Promise<WakeMemory> {
    const memory = new WakeMemory(path)
    try {
      memory.#take(JSON.parse(readPlainFileSync(path, MEMORY_FILE_MAX, 'own') ?? '{}'))
    } catch {
      memory.#worked.clear()
    }
    return memory
  }

  worked(agent: string, session: ClientSession | null): WorkedRung | null {
    return this.#worked.get(nameOf(agent, session)) ?? null
  }

  async noteWorked(agent: string, session: ClientSession | null, worked: WorkedRung): Promise<void> {
    const name = nameOf(agent, session)
    this.#worked.delete(name)
    this.#worked.set(name, worked)
    for (const oldest of [...this.#worked.keys()].slice(0, -WORKED_MAX)) this.#worked.delete(oldest)
    await this.#save()
  }

  /** When something was sent to an agent in the last hour, milliseconds since 1970. */
  sent(agent: string): readonly number[] {
    return this.#sent.get(agent) ?? []
  }

  async noteSent(agent: string, at: number): Promise<void> {
    this.#sent.set(agent, [...this.sent(agent).filter((each) => at - each < HOUR_MS), at])
    await yieldToEvents() // what is sent goes out first: the agent does not wait for the note of it
    await this.#save()
  }

  /** The agents that the fleet was told of as not woken. */
  unwoken(): ReadonlyMap<string, UnwokenAgent> {
    return new Map(this.#unwoken)
  }

  async noteUnwoken(agent: string, told: UnwokenAgent): Promise<void> {
    this.#unwoken.set(agent, told)
    await this.#save()
  }

  /** It was reached again. */
  async noteReached(agent: string): Promise<void> {
    this.#unwoken.delete(agent)
    await this.#save()
  }

  async #save(): Promise<void> {
    const saved = this.#saving.then(() => publish(this.#path, `${this.#text()}\n`))
    this.#saving = saved.catch(() => undefined)
    await saved
  }

  #text(): string {
    const [worked, sent, unwoken] = [this.#worked, this.#sent, this.#unwoken].map((each) => Object.fromEntries(each))
    return JSON.stringify({ worked, sent, unwoken })
  }

  #take(kept: Kept): void {
    for (const [name, each] of Object.entries(kept.worked ?? {})) {
      if (RUNGS.includes(each.rung)) this.#worked.set(name, each)
    }
    for (const [agent, at] of Object.entries(kept.sent ?? {})) {
      if (Array.isArray(at) && at.every(Number.isFinite)) this.#sent.set(agent, at)
    }
    for (const [agent, told] of Object.entries(kept.unwoken ?? {})) {
      const { sessions, idleWith } = Object(told) as Partial<UnwokenAgent>
      if (!Array.isArray(sessions)) continue
      const isWhole = typeof idleWith?.task === 'string' && typeof idleWith.rest === 'string'
      this.#unwoken.set(agent, { sessions: sessions.filter(isSessionId), idleWith: isWhole ? idleWith : null })
    }
  }
}

function nameOf(agent: string, session: ClientSession | null): string {
  return session === null ? agent : `${agent} ${session.client} ${session.version ?? '?'}`
}
