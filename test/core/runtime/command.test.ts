import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { type Command, commandLine, runCommand } from '#runtime/run-command.ts'
import { isOver } from '../../process-state.ts'
import { PATIENCE_MS, until } from '../../until.ts'

const folder = await mkdtemp(join(tmpdir(), 's2-command-'))
after(() => rm(folder, { recursive: true }))

function shell(script: string, over: Partial<Command> = {}): Command {
  return {
    argv: ['/bin/sh', '-c', script],
    env: { PATH: '/usr/bin:/bin' },
    timeoutMs: PATIENCE_MS,
    outputMax: 1000,
    beyond: 'keep_tail',
    ...over,
  }
}

test('gives input, environment and output through', async () => {
  const ending = await runCommand(
    shell('cat; echo $NAME >&2; exit 3', { input: 'hello', env: { PATH: '/usr/bin:/bin', NAME: 'n' } }),
    systemClock,
  )
  assert.deepEqual(
    { ...ending, stdout: String(ending.stdout) },
    { code: 3, signal: null, stdout: 'hello', stderr: 'n\n', ended: null },
  )
})

test('a command that does not exist rejects with its reason', async () => {
  await assert.rejects(runCommand({ ...shell(''), argv: ['/no/such/program'] }, systemClock), { code: 'ENOENT' })
})

test('a command that reads nothing of a large input does not fail the caller', async () => {
  const ending = await runCommand(shell('exit 0', { input: 'x'.repeat(1_000_000) }), systemClock)
  assert.equal(ending.code, 0)
})

test('keeps the end of a long output, or ends the command there', async () => {
  const tail = await runCommand(shell('seq 1 5000', { outputMax: 10 }), systemClock)
  assert.equal(String(tail.stdout), '4999\n5000\n'.slice(-10))
  const cut = await runCommand(shell('while :; do echo yyyyyyyyyyyyyyyyyyyy; done', { beyond: 'end' }), systemClock)
  assert.equal(cut.ended, 'output')
  const loud = await runCommand(
    shell('while :; do echo yyyyyyyyyyyyyyyyyyyy >&2; done', { beyond: 'end' }),
    systemClock,
  )
  assert.equal(loud.ended, 'output', 'whatever stream it is on')
})

test('at its deadline the whole group ends, children that ignore TERM and stopped ones too', async () => {
  const file = join(folder, 'pids')
  const script = `(trap '' TERM; echo $$ > /dev/null; sh -c 'trap "" TERM; echo $$ > ${file}; while :; do sleep 1; done') & wait`
  const ending = await runCommand(shell(script, { timeoutMs: 300 }), systemClock)
  assert.equal(ending.ended, 'timeout')
  const pid = Number(await readFile(file, 'utf8'))
  await until('it has ended', () => isOver(pid))
})

test('what a command leaves in its group ends with it, even when it holds the output open', async () => {
  const file = join(folder, 'left')
  const ending = await runCommand(shell(`sleep 600 & echo $! > ${file}; echo done`), systemClock)
  assert.deepEqual([ending.code, ending.ended, String(ending.stdout)], [0, null, 'done\n'])
  const pid = Number(await readFile(file, 'utf8'))
  await until('it has ended', () => isOver(pid))
})

test('an aborted signal ends it', async () => {
  const abort = new AbortController()
  const running = runCommand(shell('sleep 600'), systemClock, abort.signal)
  abort.abort()
  const ending = await running
  assert.equal(ending.ended, 'aborted')
})

test('a command line is a JSON list or a line for the shell', () => {
  assert.deepEqual(commandLine('["a","b c"]'), ['a', 'b c'])
  assert.deepEqual(commandLine('a | b'), ['/bin/sh', '-c', 'a | b'])
  assert.throws(() => commandLine('[1]'), /JSON list/)
})
