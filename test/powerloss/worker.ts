/** Replays recordings on a thread of its own. */
import { join } from 'node:path'
import { parentPort, threadId, workerData } from 'node:worker_threads'
import type { RecordingOrder } from './campaign.ts'
import { withBuffers } from './journal.ts'
import type { Recording } from './recording.ts'
import { Replay } from './replay.ts'
import { scenarioOf } from './scenarios/all.ts'

export interface WorkerData {
  readonly recordings: readonly Recording[]
  readonly seed: number
  /** Each thread has a folder in it. */
  readonly folder: string
}

const { recordings, seed, folder } = workerData as WorkerData
const replays = new Map<string, Replay>()

function replayOf(name: string): Replay {
  const known = replays.get(name)
  if (known !== undefined) return known
  const recording = recordings.find((each) => each.name === name)
  if (recording === undefined) throw new Error(`there is no recording ${name}`)
  const journal = withBuffers(recording.journal)
  const replay = new Replay(scenarioOf(recording.scenario), journal, join(folder, `${threadId}`), seed)
  replays.set(name, replay)
  return replay
}

parentPort?.on('message', async (order: RecordingOrder) => {
  parentPort?.postMessage(await replayOf(order.recording).run(order))
})
