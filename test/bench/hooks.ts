import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { publishHookDoor } from '#agents/hook-door.ts'
import { freePort } from '../port.ts'
import { startBridge } from './bridge.ts'
import { quantile } from './figures.ts'
import type { Bench, Row, Wish } from './row.ts'
import { openStage, programArgv, type Stage, until } from './stage.ts'
import { startWorkerHost } from './worker.ts'

/** What a client waits for at each of its events. */
export const hooks: Bench = async (wish) => {
  await using stage = await openStage()
  return [await hookCommand(stage, wish), await hookOverHttp(stage, wish)]
}

const STOP = JSON.stringify({
  session_id: '0a1b2c3d-0000-4000-8000-000000000000',
  transcript_path: '/tmp/none.jsonl',
  cwd: '/tmp',
  hook_event_name: 'Stop',
  permission_mode: 'default',
  stop_hook_active: false,
  last_assistant_message: 'done',
  background_tasks: [],
  session_crons: [],
})

/** From the start of the process to its end, on a host where nothing else runs. */
async function hookCommand(stage: Stage, { isQuick, say }: Wish): Promise<Row> {
  say('s2 hook Stop and node -e 0 in turn, and no keepalive')
  const env = { PATH: process.env.PATH, S2_STATE: await stage.room('hook') }
  const times = { ours: [] as number[], bare: [] as number[] }
  for (let round = -1; round < (isQuick ? 10 : 100); round += 1) {
    const ours = await runMs(programArgv(process.execPath, 's2', 'hook', 'Stop', '--agent', 'claude'), env, STOP)
    const bare = await runMs([process.execPath, '-e', '0'], env, '')
    if (round < 0) continue // the first fills the caches of the disk
    times.ours.push(ours)
    times.bare.push(bare)
  }
  return {
    what: 's2 hook Stop, as a command',
    reach: { p50Ms: 60, p99Ms: 100 },
    ours: percentiles(times.ours),
    beside: { 'node -e 0': percentiles(times.bare) },
  }
}

async function hookOverHttp(stage: Stage, { isQuick, say }: Wish): Promise<Row> {
  say('the same over http, answered by keepalive')
  const bridge = await startBridge(stage, 'other')
  const [conversation] = await bridge.openConversations(1)
  if (conversation === undefined) throw new Error('no conversation')
  const { state, keepalive } = await startWorkerHost(stage, bridge, conversation)
  const door = { port: await freePort(), secret: '0123456789abcdef'.repeat(4) }
  await publishHookDoor(state, door)
  const ask = async (): Promise<boolean> => {
    const headers = { authorization: `Bearer ${door.secret}`, 'content-type': 'application/json' }
    const url = `http://127.0.0.1:${door.port}/hook/claude`
    const response = await fetch(url, { method: 'POST', headers, body: STOP }).catch(() => null)
    await response?.arrayBuffer()
    return response?.ok === true
  }
  await until('keepalive answers hooks', ask, keepalive)
  const times: number[] = []
  for (let round = 0; round < (isQuick ? 50 : 1_000); round += 1) {
    const began = performance.now()
    if (!(await ask())) throw new Error('a hook was not answered')
    times.push(performance.now() - began)
  }
  return { what: 'a Stop hook over http', reach: { p50Ms: 5, p99Ms: 20 }, ours: percentiles(times) }
}

function percentiles(times: readonly number[]): { readonly p50Ms: number; readonly p99Ms: number } {
  return { p50Ms: quantile(times, 0.5), p99Ms: quantile(times, 0.99) }
}

async function runMs([file, ...args]: [string, ...string[]], env: NodeJS.ProcessEnv, input: string): Promise<number> {
  const began = performance.now()
  const child = spawn(file, args, { env, stdio: ['pipe', 'ignore', 'ignore'] })
  child.stdin.on('error', () => undefined).end(input)
  await once(child, 'close')
  return performance.now() - began
}
