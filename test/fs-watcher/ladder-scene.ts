/** What the tests of the ladder in the watcher stand on: one rung, and an agent whose client, mail and tasks the test changes. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import type { WakeAdapter } from '#agents/wake/adapter.ts'
import { WakeMemory } from '#agents/wake/wake-memory.ts'
import type { SessionId } from '#fleet/session-id.ts'
import { wakesIn } from '#fleet/wake-text.ts'
import { recordingLog } from '#runtime/log.ts'
import { processStart } from '#runtime/process-stat.ts'
import type { HeldTask } from '#spool/held-tasks.ts'
import { Climbs } from '../../services/fs-watcher/climbs.ts'
import type { UnreadMail } from '../../services/fs-watcher/mail-source.ts'
import type { HolderParts } from '../../services/fs-watcher/wake-idle-holders.ts'
import { WakeWaits } from '../../services/fs-watcher/wake-waits.ts'
import type { WakeCall } from '../../services/fs-watcher/waker.ts'
import { sampleSession } from '../core/agents/sample-session.ts'
import { ManualClock } from '../manual-clock.ts'
import { until } from '../until.ts'

export const folder = mkdtempSync(join(tmpdir(), 's2-ladder-'))
after(() => rmSync(folder, { recursive: true }))

export const SESSION: SessionId = 'conv_00000000000000aa/b'
export const process_ = { pid: process.pid, startTicks: processStart(process.pid) ?? '' }
export const mail: UnreadMail = { id: 1, from: 'conv_00000000000000aa/a', to: SESSION, sentAt: 0, fingerprint: 'print' }
export const call: WakeCall = { target: 'w-1', mail: [mail], fresh: new Set([mail]), messages: [], earlier: [] }

/** A ladder over one rung, with a client, mail and tasks that the test changes. */
export async function scene(name: string, behaviour: 'reads' | 'is ignored' | 'is refused') {
  const clock = new ManualClock()
  const abort = new AbortController()
  const at = {
    sessions: [sampleSession({ session: SESSION, process: process_, heardAt: clock.wall(), since: clock.wall() })],
    unread: [mail] as UnreadMail[],
    held: [] as HeldTask[],
  }
  const texts: string[] = []
  const told: string[] = []
  const adapter: WakeAdapter = {
    rung: 'inbox_socket',
    timeoutMs: 3_600_000, // the test's time runs while files are written
    whyNot: async () => (behaviour === 'is refused' ? 'no socket' : null),
    wake: async (_session, text) => {
      texts.push(text)
      if (behaviour === 'reads') at.sessions = at.sessions.map((each) => ({ ...each, wakesRead: wakesIn(text) }))
      return 'sent'
    },
  }
  const log = recordingLog()
  const warnings = new Map<string, string>()
  const warning = (topic: string, why: string | null): void =>
    void (why === null ? warnings.delete(topic) : warnings.set(topic, why))
  const parts: HolderParts = {
    clock,
    log,
    waits: new WakeWaits({ log, health: { warning } }),
    source: {
      unread: async () => at.unread,
      covers: (_target, session) => session === SESSION,
      targetOf: async () => 'w-1',
      nameOf: (session) => (session.endsWith('/a') ? 'lead' : null),
    },
    memory: await WakeMemory.open(join(folder, name)),
    trials: async () => ({ worked: () => null }),
    sessions: async () => at.sessions,
    isSole: () => false,
    adapters: () => [adapter],
    climbs: new Climbs(),
    acts: {
      failed: async (sessions, matter, tried) => {
        told.push(`failed ${sessions} ${Object.entries(matter).join(' ')} ${tried}`)
        return true
      },
      read: async (sessions, task) => {
        told.push(`read ${sessions} ${task}`)
        return true
      },
    },
    held: { list: async () => at.held },
  }
  /** Lets time pass until something has come to pass: files are read and written between. */
  const passes = async (what: string, isSo: () => boolean): Promise<void> => {
    await until(
      what,
      async () => {
        await clock.advance(500)
        return isSo()
      },
      20_000,
    )
  }
  return { clock, abort, at, texts, told, parts, passes, log, warnings }
}

export const heldTask = (fields: Partial<HeldTask> = {}): HeldTask => ({
  session: SESSION,
  task: 't-1',
  epoch: 1,
  incarnation: 'one',
  by: null,
  process: null,
  place: null,
  takenAt: 0,
  work: 0,
  lost: null,
  ended: null,
  ...fields,
})
