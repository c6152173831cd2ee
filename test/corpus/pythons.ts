/** Agents of the Python bridge, which know nothing of S2: it sees what they write into the database that they share. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { partnerOf, type SessionId } from '#fleet/session-id.ts'
import { readTaskMessage } from '#fleet/task-messages.ts'
import { recordingLog } from '#runtime/log.ts'
import { openSqliteStore } from '#store/sqlite/open-sqlite-store.ts'
import { CONFIG } from '../watchdog/stage.ts'
import { Fleet } from './fleet-player.ts'
import { PythonBridge } from './python-bridge.ts'
import { type Demand, type Happening, type Label, may, must, type Situation } from './situation.ts'

const SECOND = 1_000
const MINUTE = 60 * SECOND
/** How often the agents of a play do something. */
const STEP = 30 * SECOND
const LOOK = 3 * SECOND
const STALL = 15 * MINUTE
/** A foreign agent is heard seldom: one sign of its life counts for a silence longer. */
const SILENT = 2 * CONFIG.silentAfterMs
const WORKER = 'conv_1111111111111111'
const OTHER = 'conv_2222222222222222'

interface PythonPlay {
  /** How long it goes on. */
  readonly ms: number
  /** The roles of the agent that has the task and of the other; as in that bridge's protocol each may have one of its own. */
  readonly roles?: readonly [string, string]
  /** More of its assignment. */
  readonly assignment?: Readonly<Record<string, unknown>>
  /** What the agent that has the task does in each step. */
  act(bridge: PythonBridge, agent: SessionId, step: number): void
}

function python(title: string, label: Label, play: PythonPlay, follows: readonly Demand[]): Situation {
  return {
    title,
    label,
    follows,
    play: async () => {
      const folder = mkdtempSync(join(tmpdir(), 's2-corpus-'))
      try {
        return await perform(play, join(folder, 'bridge.db'))
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
  }
}

async function perform(
  { ms, roles = ['docs', 'docs'], assignment, act }: PythonPlay,
  path: string,
): Promise<readonly Happening[]> {
  const openStore: Parameters<typeof Fleet.open>[0]['openStore'] = (clock) =>
    openSqliteStore(path, { clock, chance: () => 0.5, log: recordingLog() })
  await using stage = await Fleet.open({ workers: {}, openStore, tell: async () => undefined })
  using bridge = new PythonBridge(path, stage.stage.clock)
  const [worker, other] = [bridge.converse(WORKER, roles[0]), bridge.converse(OTHER, roles[1])]
  const orchestrators = [partnerOf(worker), partnerOf(other)]
  for (const each of [worker, other, ...orchestrators]) bridge.beat(each)
  await stage.run(STEP)
  stage.begin()
  bridge.send(
    partnerOf(worker),
    JSON.stringify({ type: 'task_assignment', task_id: 't', description: 'x', ...assignment }),
  )
  bridge.read(worker)
  bridge.send(worker, JSON.stringify({ type: 'acknowledgment', task_id: 't' }))
  for (let step = 1; step * STEP <= ms; step += 1) {
    for (const each of orchestrators) bridge.beat(each)
    doWell(bridge, other)
    act(bridge, worker, step)
    await stage.run(STEP)
    const { state } = await stage.stage.store.task('t')
    if (state === 'completed' && !stage.witness.happenings.some(({ what }) => what === 'completed t'))
      stage.witness.note('completed t')
  }
  return [...stage.witness.happenings]
}

/** An agent that beats, takes what it is given, and has done it at once. */
function doWell(bridge: PythonBridge, agent: SessionId): void {
  bridge.beat(agent)
  for (const text of bridge.read(agent)) {
    const said = readTaskMessage(text)
    if (said?.type !== 'task_assignment') continue
    bridge.send(agent, JSON.stringify({ type: 'acknowledgment', task_id: said.task }))
    bridge.send(agent, JSON.stringify({ type: 'status_update', task_id: said.task, status: 'completed' }))
  }
}

function complete(bridge: PythonBridge, agent: SessionId): void {
  bridge.send(agent, JSON.stringify({ type: 'status_update', task_id: 't', status: 'completed' }))
}

export const PYTHONS: readonly Situation[] = [
  python(
    'an agent of the Python bridge works for half an hour and never writes a heartbeat',
    'healthy',
    {
      ms: 32 * MINUTE,
      act: (bridge, agent, step) => {
        if (step === 60) complete(bridge, agent)
        else if (step % 6 === 0) bridge.send(agent, `at step ${step}`)
        else if (step % 6 === 2) bridge.send(partnerOf(agent), 'how far are you?')
        else if (step % 6 === 3) bridge.read(agent)
      },
    },
    [must('completed t', 29 * MINUTE, 32 * MINUTE)],
  ),
  python(
    'an agent of the Python bridge beats, and says every ten minutes how far it is',
    'healthy',
    {
      ms: 42 * MINUTE,
      act: (bridge, agent, step) => {
        bridge.beat(agent)
        if (step === 80) complete(bridge, agent)
        else if (step % 20 === 0) bridge.send(agent, `at step ${step}`)
      },
    },
    [must('completed t', 39 * MINUTE, 42 * MINUTE)],
  ),
  python(
    'an agent of the Python bridge beats and hangs',
    'stuck',
    { ms: 34 * MINUTE, act: (bridge, agent) => bridge.beat(agent) },
    [
      must('told task_stalled:t', STALL - LOOK, STALL + LOOK),
      must('moved t stalled', 2 * STALL - LOOK, 2 * STALL + LOOK),
      must('completed t', 2 * STALL, 2 * STALL + 2 * MINUTE),
    ],
  ),
  python(
    'an agent of the Python bridge takes a task and is never heard again',
    'lost',
    { ms: 10 * MINUTE, act: () => undefined },
    [
      must(`told silent:${WORKER}/b`, SILENT - LOOK, SILENT + LOOK),
      must('moved t silent', SILENT - LOOK, SILENT + LOOK),
      must('completed t', 0, SILENT + 2 * MINUTE),
    ],
  ),
  python(
    'an agent of the Python bridge with a role of its own takes a task and is never heard again',
    'lost',
    { ms: 10 * MINUTE, roles: ['worker-3-tests', 'worker-6-review'], act: () => undefined },
    [
      must(`told silent:${WORKER}/b`, SILENT - LOOK, SILENT + LOOK),
      must('moved t silent', SILENT - LOOK, SILENT + LOOK),
      must('completed t', 0, SILENT + 2 * MINUTE),
    ],
  ),
  python(
    'the timeout of a Python task passes while its agent works',
    'stuck',
    {
      ms: 14 * MINUTE,
      assignment: { timeout: 600 },
      act: (bridge, agent, step) => {
        bridge.beat(agent)
        if (step % 4 === 0) bridge.send(agent, `at step ${step}`)
      },
    },
    [
      must('moved t deadline', 10 * MINUTE - LOOK, 10 * MINUTE + LOOK),
      must('completed t', 10 * MINUTE, 12 * MINUTE),
      may('refused t'),
    ],
  ),
]
