import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { PROGRAMS, SETTINGS, type Setting } from '#runtime/settings.ts'
import { VERSION } from '#runtime/version.ts'
import { mainOf } from '../../program.ts'

const folder = mkdtempSync(join(tmpdir(), 's2-help-'))
after(() => rmSync(folder, { recursive: true }))

async function answerOf(program: string, ...args: readonly string[]) {
  const state = join(folder, program)
  const child = spawn(process.execPath, [mainOf(program), ...args], {
    env: { PATH: process.env.PATH, S2_STATE: state },
  })
  const texts = { out: '', err: '' }
  child.stdout.on('data', (data) => (texts.out += data))
  child.stderr.on('data', (data) => (texts.err += data))
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.equal(existsSync(state), false, `${program} ${args.join(' ')} has started something`)
  return { code, ...texts }
}

for (const program of PROGRAMS.filter((each) => each !== 's2')) {
  test(`${program} says what it does, what it reads, how it is stopped and which version it is, and starts nothing`, async () => {
    const [help, short, version, unknown] = await Promise.all([
      answerOf(program, '--help'),
      answerOf(program, '-h'),
      answerOf(program, '--version'),
      answerOf(program, '--no-such-argument'),
    ])
    assert.equal(help.code, 0)
    assert.equal(short.out, help.out)
    const mine = Object.entries(SETTINGS as Readonly<Record<string, Setting>>)
    for (const [name, { programs }] of mine)
      assert.equal(new RegExp(`^ {2}${name} `, 'm').test(help.out), programs.includes(program), `${program}: ${name}`)
    assert.match(help.out, /\b(?:TERM|Ctrl-C)\b/)
    assert.deepEqual(version, { code: 0, out: `${VERSION}\n`, err: '' })
    assert.equal(unknown.code, 64)
    assert.match(unknown.err, /no-such-argument.*\n {2}next: /)
    assert.equal(unknown.out, '')
  })
}
