import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import type { Task } from '../../services/core/fleet/task.ts'
import { systemClock } from '../../services/core/runtime/clock.ts'
import { processes } from '../../services/local/process-tree.ts'
import { commandStarter } from '../../services/worker/task-command.ts'
import { isOver } from '../process-state.ts'
import { until } from '../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-command-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const task: Task = {
  id: 't-1',
  description: 'count the ducks',
  priority: 'P1',
  role: 'tests',
  state: 'accepted',
  epoch: 3,
  holder: 'conv_0123456789abcdef/b',
  originalAssignee: null,
  incarnation: 'x',
  leaseSeq: 1,
  otherRoles: [],
  work: 0,
  attempts: [],
  pause: null,
  reminded: 0,
  onDeadline: 'fail',
  onStall: null,
  moves: 0,
  progress: null,
  result: null,
  deadline: null,
  createdBy: null,
  createdAt: 1,
  updatedAt: 1,
}

function start(script: string, given: Task = task, onLine: (line: string) => void = () => undefined) {
  return commandStarter(['/bin/sh', '-c', script], { PATH: process.env.PATH }, folder, systemClock)(given, onLine)
}

test('a command gets the task as JSON on its input and in its environment, and its end comes back', async () => {
  const lines: string[] = []
  const script =
    'cat; echo "$S2_TASK_ID $S2_TASK_PRIORITY $S2_TASK_ROLE $S2_TASK_EPOCH $S2_TASK_DESCRIPTION"; echo oops >&2; exit 7'
  const { exitCode, signal, tail } = await start(script, task, (line) => lines.push(line)).ended
  assert.deepEqual([exitCode, signal], [7, null])
  const [json = '', words] = lines
  assert.equal((JSON.parse(json) as Task).description, 'count the ducks')
  assert.equal(words, 't-1 P1 tests 3 count the ducks')
  assert.match(tail, /oops\n/)
})

test('descriptions that no environment takes are whole on the input', async () => {
  const description = `${'€'.repeat(60_000)}\0end`
  const script = 'wc -c; printf %s "$S2_TASK_DESCRIPTION" | wc -m'
  const { exitCode, tail } = await start(script, { ...task, description }).ended
  assert.equal(exitCode, 0, tail)
  const [onInput, inEnv] = tail.trim().split('\n').map(Number)
  assert.ok((onInput ?? 0) > 180_000, tail)
  assert.ok((inEnv ?? 0) > 100, tail)
})

test('long output is kept by its end, and characters cut by the pipe come out whole', async () => {
  const lines: string[] = []
  const { tail } = await start('i=0; while [ $i -lt 3000 ]; do echo "ü line $i"; i=$((i+1)); done', task, (line) =>
    lines.push(line),
  ).ended
  assert.equal(lines.length, 3_000)
  assert.ok(lines.every((line, index) => line === `ü line ${index}`))
  assert.ok(tail.endsWith('ü line 2999\n') && tail.length <= 4_000)
})

test('output is shown and kept without secrets, however it is cut into pieces and lines', async () => {
  const token = ['ghp', 'a1B2'.repeat(9)].join('_')
  const body = 'Qk1x9Z+/'.repeat(8)
  const label = 'RSA PRIVATE KEY-----'
  const lines: string[] = []
  const { tail } = await start(
    `say() { printf -- "$1"; sleep 0.02; }
     say 'it is ghp_'; say 'a1B2${'a1B2'.repeat(8)}'; say ' here\\n'
     say '-----BEGIN ${label}\\n${body}\\n'; say '${body}\\n-----END ${label}\\nnext\\r'; say '\\nlast '
     head -c 70000 /dev/zero | tr '\\0' x; say '${token} end\\n'
     i=0; while [ $i -lt 9000 ]; do printf 'word '; i=$((i+1)); done; printf '${token} '
     i=0; while [ $i -lt 9000 ]; do printf 'word '; i=$((i+1)); done
     echo; printf '%03970d' 0; printf ' ${token}'`,
    task,
    (line) => lines.push(line),
  ).ended
  const shown = lines.join('\n')
  for (const text of [shown, tail]) assert.doesNotMatch(text, /a1B2|ghp_|Qk1x/)
  assert.match(shown, /it is \[redacted github-token\] here\n/)
  assert.match(shown, /\nnext\n…?/)
  assert.match(shown, /…\n.* end\n/)
  assert.match(tail, /\[redacted github-token\]$/)
})

test('stopping ends the whole group, also children that ignore TERM', async () => {
  const pids = join(folder, 'group')
  const running = start(
    `(trap '' TERM; sh -c 'echo $PPID' > ${pids}; sleep 1000 & echo $! >> ${pids}; wait; sleep 1000) & wait`,
  )
  await until('it runs', () => existsSync(pids) && readFileSync(pids, 'utf8').split('\n').length > 2)
  running.stop(200)
  const { exitCode } = await running.ended
  assert.equal(exitCode, null)
  for (const pid of readFileSync(pids, 'utf8').trim().split('\n')) {
    await until(`${pid} has ended`, () => isOver(Number(pid)))
  }
})

test('a command that cannot be started says so', async () => {
  const starter = commandStarter(['/nonexistent/agent'], {}, folder, systemClock)
  await assert.rejects(starter(task, () => undefined).ended, /ENOENT/)
})

test('when the agent is killed, its command ends too', async () => {
  const pid = join(folder, 'orphan')
  const script = join(folder, 'agent.ts')
  const room = (path: string): string => JSON.stringify(join(process.cwd(), 'services', path))
  writeFileSync(
    script,
    `import { commandStarter } from ${room('worker/task-command.ts')}
     import { systemClock } from ${room('core/runtime/clock.ts')}
     const task = ${JSON.stringify(task)}
     const start = commandStarter(['/bin/sh', '-c', 'echo $$ > ${pid}; sleep 1000 & wait'], process.env, '/', systemClock)
     await start(task, () => undefined).ended`,
  )
  const agent: ChildProcess = spawn(process.execPath, [script], { stdio: 'ignore' })
  await until('the command runs', () => existsSync(pid) && readFileSync(pid, 'utf8').trim() !== '')
  const command = Number(readFileSync(pid, 'utf8'))
  assert.ok(!isOver(command))
  await until('its guard runs too', () => processes().filter(({ parent }) => parent === agent.pid).length === 2)
  agent.kill('SIGKILL')
  await until('the command has ended', () => isOver(command))
})

test('a command may have the text of the task alone on its input', async () => {
  const starter = commandStarter(['/bin/cat'], { PATH: process.env.PATH }, folder, systemClock, 'text')
  const { tail } = await starter({ ...task, description: '--settings={"x":1}\nsecond' }, () => undefined).ended
  assert.equal(tail, '--settings={"x":1}\nsecond\n')
})
