/** Clients that `s2 work --agent` drives: twenty agents at once on this machine. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ClaudeHome } from './claude.ts'
import { CodexHome } from './codex.ts'
import { ClientFleet } from './fleet.ts'
import { MadeUpModel } from './model.ts'
import { type Answer, call, type Question, say } from './model-api.ts'
import { runInShell } from './responses-api.ts'

const CLAUDES = 14
const CODEXES = 6

test('twenty agents at once do their tasks, and nobody is moved', async () => {
  const bin = mkdtempSync(join(tmpdir(), 'bin-'))
  await using stack = new AsyncDisposableStack()
  stack.defer(() => rmSync(bin, { recursive: true }))
  const model = stack.use(await MadeUpModel.start(useAToolThenEnd))
  const homes = [new ClaudeHome({ model: model.url }), new CodexHome({ model: model.url })]
  for (const home of homes) stack.use(home).putInto(bin)
  const claude = { agent: 'claude', allowedTools: ['Bash'], exec: null } as const
  const codex = { agent: 'codex', permissionMode: 'danger-full-access', exec: null } as const
  const workers = Array.from({ length: CLAUDES + CODEXES }, (_, index) => (index < CLAUDES ? claude : codex))
  const began = performance.now()
  const fleet = stack.use(await ClientFleet.raise(workers, {}, { PATH: `${bin}:${process.env.PATH}` }))
  const up = performance.now()
  const ids = workers.map((_, index) => `task-${index + 1}`)
  await Promise.all(ids.map((id, index) => fleet.assign(index + 1, id, `work ${id}`)))
  let most = 0
  const watch = setInterval(() => {
    most = Math.max(most, homes.flatMap((home) => home.family()).length)
  }, 500)
  stack.defer(() => clearInterval(watch))
  const ended = await Promise.all(
    ids.map((id) => fleet.task(id, 'ended', ({ state }) => state === 'completed' || state === 'failed', 150_000)),
  )
  console.log(
    `${ids.length} agents: up in ${seconds(up - began)}, done ${seconds(performance.now() - up)} later, at most ${most} processes of clients at once`,
  )
  for (const [index, { id, state, holder, epoch, result }] of ended.entries()) {
    assert.deepEqual([id, state, holder, epoch], [id, 'completed', fleet.session(index + 1), 1], JSON.stringify(result))
    assert.match(result?.tail ?? '', /that is all/)
  }
})

/** A tool, then the end of the turn. */
function useAToolThenEnd(question: Question): Answer {
  if (/tool_result|function_call_output/.test(question.newest)) return say('that is all')
  return question.api === 'messages'
    ? call('Bash', { command: 'sleep 3', description: 'works' })
    : runInShell(question, 'sleep 3')
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(1)} s`
}
