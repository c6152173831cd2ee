/** A program that cannot be started: what is missing is said by its name. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { systemClock } from '#runtime/clock.ts'
import { type Command, runCommand } from '#runtime/run-command.ts'
import { placeFault, StartError, startErrorOf, startedProcess } from '#runtime/start-error.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-start-'))
after(() => rmSync(folder, { recursive: true }))
const isRoot = process.getuid?.() === 0

function file(name: string, content: string, mode: number): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  chmodSync(path, mode)
  return path
}

async function faultOf(command: Partial<Command>): Promise<{ code: string; message: string }> {
  const bounds = { timeoutMs: 5_000, outputMax: 1_000, beyond: 'keep_tail' } as const
  const given = { argv: ['/bin/true'], env: { PATH: '/usr/bin:/bin' }, ...bounds, ...command } as Command
  const error = await runCommand(given, systemClock).then(
    () => assert.fail('it was started'),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof StartError, String(error))
  return { code: error.code, message: error.message }
}

test('a folder that is missing is named, and not the program that would have run there', async () => {
  const gone = join(folder, 'gone')
  assert.deepEqual(await faultOf({ argv: ['/bin/sh', '-c', 'true'], cwd: gone }), {
    code: 'no_folder',
    message: `the folder ${gone} does not exist`,
  })
  const plain = file('plain', '', 0o644)
  assert.deepEqual(await faultOf({ cwd: plain }), { code: 'no_folder', message: `${plain} is no folder` })
})

test('a folder that may not be entered is named', {
  skip: isRoot ? 'root may enter every folder' : false,
}, async () => {
  const closed = join(folder, 'closed')
  mkdirSync(closed, { mode: 0o000 })
  try {
    assert.deepEqual(await faultOf({ cwd: closed }), {
      code: 'no_folder',
      message: `the folder ${closed} may not be entered`,
    })
  } finally {
    chmodSync(closed, 0o700) // else only root could remove it
  }
})

test('a program that is not installed is named, with where it was looked for', async () => {
  assert.deepEqual(await faultOf({ argv: ['no-such-agent'], cwd: folder }), {
    code: 'no_program',
    message: 'the program no-such-agent is not installed (not found in PATH)',
  })
  assert.deepEqual(await faultOf({ argv: ['/no/such/agent'] }), {
    code: 'no_program',
    message: 'the program /no/such/agent is not installed (there is no such file)',
  })
})

test('the program that a script names to run it is named where that is missing', async () => {
  const script = file('script', '#!/no/such/python3 -u\nprint(1)\n', 0o755)
  assert.deepEqual(await faultOf({ argv: [script] }), {
    code: 'no_program',
    message: `the program /no/such/python3, which runs ${script}, is not installed (there is no such file)`,
  })
  const byPlain = file('by-plain', `#!${file('plain-interpreter', '', 0o644)}\n`, 0o755)
  for (const [path, interpreter] of [
    [byPlain, join(folder, 'plain-interpreter')],
    [file('by-folder', `#!${folder}\n`, 0o755), folder],
  ]) {
    assert.deepEqual(await faultOf({ argv: [path ?? ''] }), {
      code: 'not_executable',
      message: `the program ${interpreter}, which is to run ${path}, may not be executed, or is none`,
    })
  }
})

test('a script with the line ends of Windows is said to have them, as its interpreter is there', async () => {
  const script = file('windows', '#!/bin/sh\r\nexit 0\r\n', 0o755)
  assert.deepEqual(await faultOf({ argv: [script] }), {
    code: 'not_executable',
    message: `${script} has Windows line ends: sed -i 's/\\r$//' takes them out`,
  })
  const tolerant = file('tolerant', '#!/usr/bin/env -S sh -c :\r\n', 0o755)
  assert.equal(placeFault({ argv: [tolerant], env: { PATH: process.env.PATH } }), null)
})

test('a program without the right to execute it is named by its path', async () => {
  const path = file('forbidden', '#!/bin/sh\n', 0o644)
  assert.deepEqual(await faultOf({ argv: [path] }), {
    code: 'not_executable',
    message: `${path} may not be executed: chmod +x allows it`,
  })
  assert.deepEqual(await faultOf({ argv: ['forbidden'], env: { PATH: `/no/such:${folder}` } }), {
    code: 'not_executable',
    message: `${path} may not be executed: chmod +x allows it`,
  })
  assert.deepEqual(await faultOf({ argv: [folder] }), {
    code: 'not_executable',
    message: `${folder} is a folder, and no program`,
  })
})

test('where the place is in order, the reason of the system is told', () => {
  const place = { argv: ['/bin/sh'], env: {} } as const
  const cause = Object.assign(new Error('spawn /bin/sh EAGAIN'), { code: 'EAGAIN' })
  const { code, message } = startErrorOf(place, cause)
  assert.deepEqual(
    [code, message],
    ['system', 'the program /bin/sh cannot be started: the system allows no further process (EAGAIN)'],
  )
})

test('whoever starts a process and does not wait is told at once', () => {
  const place = { argv: ['node'], cwd: join(folder, 'gone'), env: { PATH: process.env.PATH } } as const
  assert.throws(() => startedProcess(place, () => spawn('node', { cwd: place.cwd })), {
    code: 'no_folder',
    message: `the folder ${place.cwd} does not exist`,
  })
  assert.throws(
    () => startedProcess({ ...place, cwd: file('one', '', 0o644) }, () => spawn('node', { cwd: join(folder, 'one') })),
    {
      code: 'no_folder',
    },
  )
})
