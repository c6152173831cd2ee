import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Clock, systemClock } from '#runtime/clock.ts'
import { type Command, commandLine, runCommand } from '#runtime/run-command.ts'
import { ManualClock, settle } from '../../manual-clock.ts'
import { isOver, stateOf } from '../../process-state.ts'
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
  await assert.rejects(runCommand({ ...shell(''), argv: ['/no/such/program'] }, systemClock), {
    name: 'StartError',
    code: 'no_program',
  })
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

test('output that runs through a filter is taken, though the filter ends after the command', async () => {
  const argv = ['/bin/bash', '--norc', '-c', 'exec > >(sleep 0.7; sed s/x/y/); echo x'] as const
  const ending = await runCommand(shell('', { argv, lingerMs: PATIENCE_MS }), systemClock)
  assert.deepEqual([ending.code, ending.ended, String(ending.stdout)], [0, null, 'y\n'])
})

test('what a command leaves has its time to finish, and is killed after it', async () => {
  const file = join(folder, 'lingers')
  const waits: { ms: number; expire: () => void }[] = []
  const clock: Clock = {
    ...systemClock,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        waits.push({ ms, expire: resolve })
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      }),
  }
  const running = runCommand(shell(`sleep 600 & echo $! > ${file}; echo done`, { lingerMs: 2_000 }), clock)
  await until('the command itself has exited', () => waits.some(({ ms }) => ms === 2_000))
  const pid = Number(await readFile(file, 'utf8'))
  assert.ok(!isOver(pid), 'it has no time to finish')
  for (const { ms, expire } of waits) if (ms === 2_000) expire()
  assert.equal((await running).code, 0)
  await until('it has ended', () => isOver(pid))
})

test('a command that leaves nothing is not waited for', async () => {
  const ending = await runCommand(shell('echo done', { lingerMs: PATIENCE_MS }), new ManualClock())
  assert.deepEqual([ending.code, String(ending.stdout)], [0, 'done\n'])
})

test('what a command left ends at once where the command is to end, and how it ended itself stays told', async () => {
  const file = join(folder, 'hurried')
  const abort = new AbortController()
  const script = `sleep 600 & echo $$ $! > ${file}.new; mv ${file}.new ${file}`
  const running = runCommand(shell(script, { lingerMs: PATIENCE_MS }), systemClock, abort.signal)
  await until('it has left something', () => existsSync(file))
  const [pid, left] = (await readFile(file, 'utf8')).split(' ').map(Number)
  await until('the command itself has exited', () => stateOf(pid ?? 0) === null)
  await settle()
  abort.abort()
  const { code, ended } = await running
  assert.deepEqual([code, ended], [0, null])
  await until('it has ended', () => isOver(left ?? 0))
})

test('output is handed out with the stream that it came by', async () => {
  const said = { stdout: '', stderr: '' }
  const onOutput: Command['onOutput'] = (chunk, stream) => {
    said[stream] += String(chunk)
  }
  await runCommand(shell('echo out; echo err >&2', { onOutput }), systemClock)
  assert.deepEqual(said, { stdout: 'out\n', stderr: 'err\n' })
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
