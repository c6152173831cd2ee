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
import { ManualClock } from '../manual-clock.ts'
import { isOver } from '../process-state.ts'
import { aTask } from '../tasks.ts'
import { until } from '../until.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-command-'))
after(() => rmSync(folder, { recursive: true, force: true }))

const task = aTask()

const PATH = { PATH: process.env.PATH }

function start(script: string, given: Task = task, onLine: (line: string) => void = () => undefined) {
  return commandStarter(['/bin/sh', '-c', script], PATH, folder, systemClock)(given, onLine)
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

test('a character or line that comes in two pieces is whole, whatever comes by the other stream meanwhile', async () => {
  const lines: string[] = []
  // € is e2 82 ac, the rocket f0 9f 9a 80: each stream breaks off within a character while the other goes on.
  const script = String.raw`
    printf 'out \342\202'; sleep 0.2; printf 'err \360\237' >&2; sleep 0.2; printf '\254 of '; sleep 0.2
    printf '\232\200 of ' >&2; sleep 0.2; printf 'one\n'; sleep 0.2; printf 'two\n' >&2`
  const { tail } = await start(script, task, (line) => lines.push(line)).ended
  assert.deepEqual(lines, ['out € of one', 'err 🚀 of two'])
  assert.equal(tail, 'out € of one\nerr 🚀 of two\n')
})

test('the last line is shown and kept without its end, and without that of the other stream in it', async () => {
  const lines: string[] = []
  const { tail } = await start(`printf 'going'; sleep 0.2; printf 'Overwrite? [y/N] ' >&2`, task, (line) =>
    lines.push(line),
  ).ended
  assert.deepEqual(lines, ['going', 'Overwrite? [y/N] '])
  assert.equal(tail, 'going\nOverwrite? [y/N] ')
})

test('a tail of characters that take two places each begins with a whole one', async () => {
  const lines: string[] = []
  const script = 'i=0; while [ $i -lt 2500 ]; do printf 🚀; i=$((i+1)); done; echo'
  const { tail } = await start(script, task, (line) => lines.push(line)).ended
  assert.equal(tail, `${'🚀'.repeat(1_999)}\n`)
  assert.ok(lines.every((line) => line.isWellFormed() && line.length <= 4_000))
})

test('a filter behind the output of a command has its time to finish', async () => {
  const starter = commandStarter(
    ['/bin/bash', '--norc', '-c', 'exec > >(sleep 0.6; sed s/x/y/); echo x'],
    PATH,
    folder,
    systemClock,
  )
  assert.equal((await starter(task, () => undefined).ended).tail, 'y\n')
})

test('what stands on a line without end is told where nothing more comes, and not before: it may be half a secret', async () => {
  const clock = new ManualClock()
  const asks = join(folder, 'asks')
  const lines: string[] = []
  const script = `echo one; printf 'Overwrite? [y/N] '; touch ${asks}; sleep 600`
  const running = commandStarter(['/bin/sh', '-c', script], PATH, folder, clock)(task, (line) => lines.push(line))
  await until('it asks', () => existsSync(asks) && lines.length === 1)
  await until('the question has come', async () => {
    await clock.advance(1_000)
    return running.openLine?.() === 'Overwrite? [y/N] '
  })
  running.stop(0)
  await clock.advance(10_000)
  await running.ended
  assert.deepEqual(lines, ['one', 'Overwrite? [y/N] '])
})

test('a description in the environment is cut between characters', async () => {
  const description = `x${'🚀'.repeat(19_999)}\ufffd${'🚀'.repeat(19_990)}`
  const { tail } = await start('printf %s "$S2_TASK_DESCRIPTION" | tail -c 8', { ...task, description }).ended
  assert.equal(tail, '🚀🚀')
})

test('output is shown and kept without secrets, however it is cut into pieces and lines', async () => {
  const token = ['ghp', 'a1B2'.repeat(9)].join('_')
  const body = 'Qk1x9Z+/'.repeat(8)
  const label = 'RSA PRIVATE KEY-----'
  const lines: string[] = []
  // Longer than what is kept of an open line (64,000) and what one read brings (65,536) together: it is cut, however late it is read.
  const long = 140_000
  const { tail } = await start(
    `say() { printf -- "$1"; sleep 0.02; }
     say 'it is ghp_'; say 'a1B2${'a1B2'.repeat(8)}'; say ' here\\n'
     say '-----BEGIN ${label}\\n${body}\\n'; say '${body}\\n-----END ${label}\\nnext\\r'; say '\\nlast '
     head -c ${long} /dev/zero | tr '\\0' x; say '${token} end\\n'
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

test('a command that cannot be started says what is missing, as a fault of the place', async () => {
  const starter = commandStarter(['/nonexistent/agent'], {}, folder, systemClock)
  await assert.rejects(starter(task, () => undefined).ended, {
    name: 'StartError',
    code: 'no_program',
    message: 'the program /nonexistent/agent is not installed (there is no such file)',
  })
  const gone = join(folder, 'gone')
  await assert.rejects(commandStarter(['/bin/sh', '-c', 'true'], {}, gone, systemClock)(task, () => undefined).ended, {
    name: 'StartError',
    code: 'no_folder',
    message: `the folder ${gone} does not exist`,
  })
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
