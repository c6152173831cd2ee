import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { median } from './figures.ts'
import type { Bench } from './row.ts'
import { openStage } from './stage.ts'

/** The least that answers lines of JSON. */
const ECHO = `process.stdin.on('data', (chunk) => {
  for (const line of String(chunk).split('\\n')) {
    const id = line === '' ? undefined : JSON.parse(line).id
    if (id !== undefined) process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, result: {} }) + '\\n')
  }
})`
const HELLO = [
  {
    id: 1,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'bench', version: '1' } },
  },
  { method: 'notifications/initialized' },
  { id: 2, method: 'tools/list' },
].map((message) => `${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)

/** How soon `s2 mcp` has told its tools, and what it weighs then, beside a Node that echoes. */
export const mcp: Bench = async ({ isQuick, say }) => {
  await using stage = await openStage()
  const rounds = isQuick ? 5 : 30
  const taken = { ours: [] as Started[], bare: [] as Started[] }
  say(`${rounds} starts of each`)
  for (let round = 0; round < rounds; round += 1) {
    taken.bare.push(await listed(['-e', ECHO], stage.folder))
    taken.ours.push(await listed(['dist/s2.js', 'mcp'], stage.folder))
  }
  const figures = (all: readonly Started[]) => ({
    listMs: median(all.map(({ ms }) => ms)),
    rssMb: median(all.map(({ rssMb }) => rssMb)),
  })
  const [ours, bare] = [figures(taken.ours), figures(taken.bare)]
  return [
    {
      what: 's2 mcp, from its start to the list of tools',
      reach: { rssMb: bare.rssMb + 10 },
      ours,
      beside: { 'node echo': bare },
      reachOf: { listMs: { 'node echo': 2 } },
    },
  ]
}

interface Started {
  readonly ms: number
  readonly rssMb: number
}

async function listed(argv: readonly string[], state: string): Promise<Started> {
  const began = performance.now()
  const child = spawn(process.execPath, argv, { env: { S2_STATE: state }, stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  child.stdin.write(HELLO.join(''))
  for await (const line of createInterface(child.stdout)) if (JSON.parse(line).id === 2) break
  const ms = performance.now() - began
  const rssKb = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))?.[1]
  child.stdin.end()
  await ended
  return { ms, rssMb: Number(rssKb) / 1024 }
}
