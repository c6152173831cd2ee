import assert from 'node:assert/strict'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Task } from '../../services/core/fleet/task.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { commandLine } from '../../services/core/runtime/run-command.ts'
import { type PlaceFault, placeJudge } from '../../services/worker/place-fault.ts'
import type { CommandEnd } from '../../services/worker/running-command.ts'
import { commandStarter } from '../../services/worker/task-command.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-fault-'))
after(() => rmSync(folder, { recursive: true, force: true }))
const NOW = Date.parse('2026-11-29T17:46:00Z')
const clock = { wall: () => NOW }
const env = { PATH: process.env.PATH }

/** What the judge says of an end, without its look. */
function faultOf(exec: string, exitCode: number | null, tail: string): Omit<PlaceFault, 'look'> | null {
  const judge = placeJudge({ argv: commandLine(exec), cwd: folder, env }, clock, 'UTC')
  const fault = judge({ end: { exitCode, signal: null, tail }, error: null })
  return fault === null ? null : { state: fault.state, why: fault.why, until: fault.until }
}

/** Runs a command line as a worker does, and judges its end. */
async function judged(exec: string, description = 'x', path = process.env.PATH): Promise<PlaceFault | null> {
  const argv = commandLine(exec)
  const given = { PATH: path, LANG: 'C.UTF-8' }
  const judge = placeJudge({ argv, cwd: folder, env: given }, systemClock)
  const running = commandStarter(argv, given, folder, systemClock)({ id: 't', description } as Task, () => undefined)
  const none: CommandEnd = { exitCode: null, signal: null, tail: '' }
  return await running.ended.then(
    (end) => judge({ end, error: null }),
    (error: unknown) => judge({ end: none, error }),
  )
}

function script(name: string, content: string, mode = 0o755): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

test('a program of the command line that is not there is a fault of the place, by whatever shell it is called', async () => {
  for (const exec of [
    'no-such-agent -p',
    "sh -c 'no-such-agent -p'",
    'bash -c "no-such-agent -p"',
    'cd . && no-such-agent -p -- "$S2_TASK_DESCRIPTION"',
    'A=b exec no-such-agent',
    'env A=b no-such-agent',
    'timeout 10 no-such-agent',
    '["no-such-agent"]',
    '["/no/such/agent"]',
    '["env","no-such-agent"]',
    './no-such-agent',
  ]) {
    const fault = await judged(exec)
    assert.equal(fault?.state, 'sick', exec)
    assert.match(fault?.why ?? '', /no-such-agent|\/no\/such\/agent/, exec)
    assert.notEqual(fault?.look?.() ?? null, null, `${exec}: it can be looked for`)
  }
})

test('one that may not be executed, or whose interpreter is missing, is one too, and is seen when it is mended', async () => {
  const plain = script('plain', '#!/bin/sh\n', 0o644)
  const fault = await judged(plain)
  assert.equal(fault?.why, `${plain} may not be executed: chmod +x allows it`)
  assert.equal(fault?.look?.(), `${plain} may not be executed: chmod +x allows it`)
  chmodSync(plain, 0o755)
  assert.equal(fault?.look?.(), null)

  const bin = join(folder, 'nodeless')
  mkdirSync(bin)
  script('nodeless/agent', '#!/usr/bin/env no-such-node\n')
  const nodeless = await judged('agent -p', 'x', `${bin}:/usr/bin:/bin`)
  assert.equal(nodeless?.why, `the program no-such-node, which runs ${bin}/agent, is not installed (not found in PATH)`)
  script('nodeless/no-such-node', '#!/bin/sh\nexit 0\n')
  assert.equal(nodeless?.look?.(), null)
})

test('a program that the work itself misses is the task’s own affair', async () => {
  const build = script('build', '#!/bin/sh\necho compiling\nno-such-tool --link\n')
  for (const [exec, description] of [
    [build, 'x'],
    ['sh -c "$S2_TASK_DESCRIPTION"', 'echo hi; no-such-tool'],
    ['bash -c "$S2_TASK_DESCRIPTION"', 'no-such-tool'],
    ['./build && echo done', 'x'],
    ['exit 127', 'x'],
  ] as const) {
    assert.equal(await judged(exec, description), null, `${exec}: ${description}`)
  }
})

test('exit code 75 says that the place is to blame, and a retry-after line for how long', () => {
  const sick = { state: 'sick', why: 'no licence is free', until: null }
  const parked = { state: 'parked', why: 'no licence is free' }
  assert.deepEqual(faultOf('./agent', 75, 'no licence is free\n'), sick)
  assert.deepEqual(faultOf('./agent', 75, ''), { ...sick, why: 'exit code 75' })
  for (const [line, instant] of [
    ['retry-after: 300', NOW + 300_000],
    ['Retry-After: 2026-11-30T08:00:00Z', Date.parse('2026-11-30T08:00:00Z')],
    ['retry-after:   Mon, 30 Nov 2026 08:00:00 GMT  ', Date.parse('2026-11-30T08:00:00Z')],
    ['retry-after: when the cows come home', null],
  ] as const) {
    assert.deepEqual(faultOf('./agent', 75, `no licence is free\n${line}\n`), { ...parked, until: instant }, line)
  }
  const far = `retry-after: 300\n${'work\n'.repeat(20)}no licence is free`
  assert.deepEqual(faultOf('./agent', 75, far), sick, 'one of the work before is none')
  assert.equal(faultOf('./agent', 1, 'retry-after: 300\n'), null, 'it is asked for by the exit code')
  assert.equal(faultOf('./agent', 0, 'retry-after: 300\n'), null)
})

test('a client that reached a limit or is logged out parks its worker', () => {
  const limit = "You've hit your session limit · resets 8:47pm (UTC)"
  assert.deepEqual(faultOf('claude -p', 1, `Reading files\n${limit}\n`), {
    state: 'parked',
    why: `claude: ${limit}`,
    until: Date.parse('2026-11-29T20:47:00Z'),
  })
  assert.deepEqual(faultOf('["claude","-p"]', 1, 'Not logged in · Please run /login\n'), {
    state: 'parked',
    why: 'claude: Not logged in · Please run /login',
    until: null,
  })
  const codex = 'You’ve hit your usage limit. Try again at Dec 3rd, 2026 8:48 PM.'
  assert.deepEqual(faultOf('codex exec -', 1, `ERROR: ${codex}\nERROR: ${codex}\n`), {
    state: 'parked',
    why: `codex: ${codex}`,
    until: Date.parse('2026-12-03T20:48:00Z'),
  })
})

test('a success is a success, and words of another client, or of long ago, say nothing', () => {
  const limit = "You've hit your session limit · resets 8:47pm (UTC)\n"
  assert.equal(faultOf('claude -p', 0, limit), null)
  assert.equal(faultOf('claude -p', null, limit), null, 'it was ended by a signal')
  assert.equal(faultOf('./agent', 1, limit), null)
  assert.equal(faultOf('codex exec -', 1, limit), null)
  assert.equal(faultOf('claude -p', 1, `${limit}${'and then it worked on\n'.repeat(10)}`), null)
})

test('of a client that S2 drives its own word counts, and no text', () => {
  const judge = placeJudge({ argv: ['claude'], cwd: folder, env }, clock, 'UTC')
  const limit = { exitCode: 1, signal: null, tail: "You've hit your limit" }
  const parked: PlaceFault = { state: 'parked', why: 'claude: limit', until: NOW }
  assert.equal(judge({ end: { ...limit, client: 'answered' }, error: null }), null)
  assert.deepEqual(judge({ end: { ...limit, client: parked }, error: null }), parked)
})
