/** What the tests of the watcher stand on: watchers whose wakes are written down, and inboxes to fill. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { SessionId } from '#fleet/session-id.ts'
import { systemChance, systemClock } from '#runtime/clock.ts'
import { recordingLog } from '#runtime/log.ts'
import type { Inbox } from '#spool/inbox.ts'
import { ask } from '../ask.ts'
import { mainOf, Program } from '../program.ts'

export const parts = { clock: systemClock, chance: systemChance, log: recordingLog() }

export class Stage implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 's2-watcher-'))
  readonly #watchers = new Set<Watcher>()

  /** A state folder of its own. */
  state(name: string): string {
    const path = join(this.folder, name)
    mkdirSync(path, { recursive: true })
    return path
  }

  watch(state: string, settings: Record<string, string> = {}): Watcher {
    const watcher = new Watcher(state, settings)
    this.#watchers.add(watcher)
    return watcher
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#watchers].map((each) => each.end('SIGKILL')))
    rmSync(this.folder, { recursive: true, force: true })
  }
}

/** A watcher whose wake command appends what it is told to a file. */
export class Watcher extends Program {
  readonly #socket: string

  constructor(state: string, settings: Readonly<Record<string, string>>) {
    const wake = `cat >> ${join(state, 'calls')}`
    super(mainOf('fs-watcher'), { S2_STATE: state, S2_WAKE: wake, S2_POLL: '50ms', ...settings })
    this.#socket = join(state, 'run', 'fs-watcher.sock')
  }

  /** Waits until so many messages were woken for by commands that worked. */
  woken(count: number): Promise<void> {
    return this.until(
      () => this.eventsOf('agent woken').reduce((sum, { messages }) => sum + Number(messages), 0) >= count,
    )
  }

  ask(path: string): ReturnType<typeof ask> {
    return ask(this.#socket, path)
  }
}

interface Told {
  readonly count: number
  readonly unread: number
  readonly sessions: readonly SessionId[]
  readonly messages: readonly { readonly id: number; readonly preview: string }[]
  readonly earlier: readonly { readonly id: number }[]
}

/** What the wake commands were told, in the order of the calls. */
export function calls(state: string): Told[] {
  const lines = readFileSync(join(state, 'calls'), 'utf8').trim().split('\n')
  return lines.map((line) => JSON.parse(line) as Told)
}

/** The ids that somebody was woken for, in the order of the calls. */
export function told(state: string): number[] {
  return calls(state).flatMap(({ messages }) => messages.map(({ id }) => id))
}

export const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)

/** Puts a message into an inbox, as keepalive does. */
export function put(inbox: Inbox, id: number, to: SessionId = 'conv_00000000000000aa/b'): Promise<boolean> {
  const from: SessionId = 'conv_00000000000000aa/a'
  return inbox.put({ id, from, to, text: `text ${id}`, action: null, files: [], sentAt: 0, delivery: 'queued' })
}
