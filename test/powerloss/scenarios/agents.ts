/** What agents take and end on their host: tasks, by hand and in what `s2 work` runs, and messages. */
import { join } from 'node:path'
import type { SessionId } from '#fleet/session-id.ts'
import type { Report } from '#fleet/task.ts'
import { HeldTasks } from '#spool/held-tasks.ts'
import { Inbox } from '#spool/inbox.ts'
import { InboxLeases } from '#spool/inbox-leases.ts'
import type { MessageTaker } from '#spool/message-taker.ts'
import { Outbox } from '#spool/outbox.ts'
import { RunningTasks } from '#spool/running-tasks.ts'
import { agentWords } from '../../../services/worker/agent-words.ts'
import { LeftEnds } from '../../../services/worker/left-ends.ts'
import { letter, READER } from '../../core/spool/sample.ts'
import type { Scenario } from '../scenario.ts'
import { brokenJson } from './whole-files.ts'

/** What waits in the outbox as the end of a task, each as one text. */
async function endsIn(root: string): Promise<{ readonly ends: string[]; readonly setAside: string[] }> {
  const setAside: string[] = []
  const outbox = new Outbox(root, (fault) => setAside.push(fault))
  await outbox.tidy(Date.now())
  const items = (await outbox.list()).map(({ item }) => (item.kind === 'report' ? item.report : null))
  const ends = items.filter((each) => each?.state === 'completed' || each?.state === 'failed')
  return { ends: ends.map((each) => JSON.stringify(each)), setAside }
}

type HeldWord = { readonly work: number } | { readonly ended: true }

interface FoundHeld {
  /** The count of work of the task that is held; null where none is. */
  readonly work: number | null
  readonly ends: readonly string[]
  readonly faults: readonly string[]
}

const HELD = {
  ...{ session: READER, task: 't-1', epoch: 3, incarnation: 'one', by: { client: 'claude', id: 'one' } },
  ...{ process: null, place: null, takenAt: 1_000, work: 0, lost: null, ended: null },
} as const
const END = { task: 't-1', epoch: 3, state: 'completed', progress: null } as const
const RESULT = { exitCode: null, signal: null, tail: 'merged' }

/** A task that was taken by hand is held, or its end waits for the bridge. */
export const heldTasks: Scenario<FoundHeld, HeldWord> = {
  name: 'held tasks',
  module: import.meta.url,
  async play(root, tell) {
    const held = new HeldTasks(root)
    for (const work of [0, 1, 2]) {
      await held.put({ ...HELD, work })
      tell({ work })
    }
    await held.put({ ...HELD, task: 't-2' })
    await new Outbox(root).put({ kind: 'report', holder: READER, report: { ...END, result: RESULT } })
    tell({ ended: true })
    await held.remove(HELD)
    await held.remove({ ...HELD, task: 't-2' })
  },
  async look(root) {
    const own = (await new HeldTasks(root).list()).find(({ task }) => task === HELD.task)
    const { ends, setAside } = await endsIn(root)
    return { work: own?.work ?? null, ends, faults: [...setAside, ...brokenJson(join(root, 'held'))] }
  },
  judge({ work, ends, faults }, told) {
    const isEnded = told.some((word) => 'ended' in word)
    const least = told.reduce((most, word) => ('work' in word ? Math.max(most, word.work) : most), -1)
    return [
      ...(isEnded && ends.length !== 1 ? [`its end was put once, and waits ${ends.length} times`] : []),
      ...(ends.length === 0 && (work ?? -1) < least ? [`it was held with work ${least}, and is with ${work}`] : []),
      ...faults,
    ]
  },
}

type SaidWord = { readonly said: true } | { readonly reported: true }

interface FoundSaid {
  readonly isSaid: boolean
  readonly ends: readonly string[]
  readonly faults: readonly string[]
}

/** The end that an agent said of its task is reported by the next life of `s2 work`, and is no other when it is reported twice. */
export const saidEnds: Scenario<FoundSaid, SaidWord> = {
  name: 'ends that agents said',
  module: import.meta.url,
  isKilledFirst: true,
  async play(root, tell) {
    const tasks = new RunningTasks(root)
    const words = agentWords(root, () => ({ [Symbol.dispose]: () => undefined }))
    const outbox = new Outbox(root)
    const { ends } = await endsIn(root)
    const left = await words.left([READER])
    if (ends.length === 0 && left.length === 0) {
      await tasks.begin({
        session: READER,
        task: 't-1',
        epoch: 3,
        worker: { pid: 1, startTicks: '1', namespace: 'pid:[1]' },
      })
      const end = { state: 'completed', words: 'merged' } as const
      await tasks.say({ session: READER, task: 't-1', epoch: 3, count: 1, progress: null, end })
      tell({ said: true })
    }
    const put = async (holder: SessionId, report: Report): Promise<void> => {
      await outbox.put({ kind: 'report', holder, report })
      tell({ reported: true })
    }
    await new LeftEnds({ words, reports: { put } }).report([READER])
    await tasks.end({ task: 't-1' })
  },
  async look(root) {
    const { ends, setAside } = await endsIn(root)
    const isSaid = new RunningTasks(root).said({ task: 't-1', epoch: 3 })?.end?.state === 'completed'
    const folders = ['running', 'said'].map((name) => join(root, 'agents', name))
    return { isSaid, ends, faults: [...setAside, ...folders.flatMap(brokenJson)] }
  },
  judge({ isSaid, ends, faults }, told) {
    const isReported = told.some((word) => 'reported' in word)
    return [
      ...(told.length > 0 && !isSaid && ends.length === 0 ? ['it was ended, and nobody knows'] : []),
      ...(isReported && ends.length === 0 ? ['its end was reported, and is lost'] : []),
      ...(new Set(ends).size > 1 ? [`it ended in ${ends.length} ways`] : []),
      ...faults,
    ]
  },
}

type LeaseWord =
  | { readonly placed: readonly number[] }
  | { readonly acks: readonly number[] }
  | { readonly acked: true }

interface FoundLeases {
  /** Those that an agent gets once more, and those that it has acked. */
  readonly open: readonly number[]
  readonly done: readonly number[]
  readonly handed: readonly number[]
  readonly faults: readonly string[]
}

const TAKER: MessageTaker = { by: 'claude one', process: null }

function leasesIn(root: string, faults: string[] = []): { readonly inbox: Inbox; readonly leases: InboxLeases } {
  const onFault = (fault: string): void => void faults.push(fault)
  const inbox = new Inbox(root, onFault)
  return { inbox, leases: new InboxLeases(root, { inbox, leaseMs: 60_000, wall: () => 1_000, onFault }) }
}

/** A message that was handed out is acked, or handed out again: what became of the note of it is nobody's loss. */
export const messageLeases: Scenario<FoundLeases, LeaseWord> = {
  name: 'message leases',
  module: import.meta.url,
  async play(root, tell) {
    const { inbox, leases } = leasesIn(root)
    await inbox.recover()
    await inbox.putAll([letter(1), letter(2), letter(3)])
    tell({ placed: [1, 2, 3] })
    await leases.take(TAKER, 2)
    tell({ acks: [1, 2] })
    await leases.take(TAKER, 2)
    tell({ acked: true })
    await leases.release()
  },
  async look(root) {
    const faults: string[] = []
    const { inbox, leases } = leasesIn(root, faults)
    await inbox.recover()
    await leases.release()
    const open = [...(await inbox.list('new')), ...(await inbox.list('cur'))]
    const done = await inbox.list('done')
    const handed = (await leases.take({ by: 'another', process: null }, 10)).map(({ id }) => id)
    return { open, done, handed: [...handed, ...(await leases.inHand(10)).map(({ id }) => id)], faults }
  },
  judge({ open, done, handed, faults }, told) {
    const placed = told.flatMap((word) => ('placed' in word ? word.placed : []))
    const acks = told.flatMap((word) => ('acks' in word ? word.acks : []))
    const lost = placed.filter((id) => !open.includes(id) && !(done.includes(id) && acks.includes(id)))
    const again = told.some((word) => 'acked' in word) ? acks.filter((id) => open.includes(id)) : []
    return [
      ...lost.map((id) => `${id} was placed, and is lost`),
      ...again.map((id) => `${id} was acked, and comes again`),
      ...open.filter((id) => !handed.includes(id)).map((id) => `${id} lies there, and nobody gets it`),
      ...faults,
    ]
  },
}
