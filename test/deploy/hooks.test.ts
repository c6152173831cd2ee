import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'

const root = mkdtempSync(join(tmpdir(), 's2-hooks-'))
after(() => rmSync(root, { recursive: true, force: true }))

/** A checkout with the scripts of the hook, whose checks only write down that they ran. */
class Checkout {
  readonly folder: string
  readonly hook: string

  constructor(name: string) {
    this.folder = join(root, name)
    mkdirSync(join(this.folder, 'deploy'), { recursive: true })
    for (const script of ['hooks.sh', 'pre-commit.sh']) {
      cpSync(join('deploy', script), join(this.folder, 'deploy', script))
    }
    writeFileSync(join(this.folder, 'Makefile'), 'check check-docs:\n\t@echo $@ >>ran; test ! -e broken\n')
    this.git('init', '--quiet')
    this.hook = join(this.folder, '.git/hooks/pre-commit')
  }

  git(...words: string[]): void {
    const who = ['-c', 'user.name=t', '-c', 'user.email=t@example.org']
    execFileSync('git', [...who, ...words], { cwd: this.folder, stdio: 'pipe' })
  }

  install(): { readonly status: number | null; readonly stderr: string } {
    return spawnSync('sh', ['deploy/hooks.sh'], { cwd: this.folder, encoding: 'utf8' })
  }

  /** Commits a change of these files; answers which checks have run so far. */
  commit(...files: string[]): string[] {
    for (const file of files) writeFileSync(join(this.folder, file), `${Math.random()}\n`)
    this.git('add', ...files)
    this.git('commit', '--quiet', '-m', 'a change')
    return this.ran()
  }

  ran(): string[] {
    const file = join(this.folder, 'ran')
    return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : []
  }
}

test('a commit is checked by what it changes', () => {
  const checkout = new Checkout('ours')
  assert.equal(checkout.install().status, 0)
  assert.deepEqual(checkout.commit('README.md'), ['check-docs'])
  assert.deepEqual(checkout.commit('code.ts'), ['check-docs', 'check'])
  assert.deepEqual(checkout.commit('README.md', 'code.ts'), ['check-docs', 'check', 'check'])
  assert.equal(checkout.install().status, 0, 'installing again is refused')
})

test('a commit that fails its check is not made', () => {
  const checkout = new Checkout('broken')
  checkout.install()
  writeFileSync(join(checkout.folder, 'broken'), '')
  assert.throws(() => checkout.commit('code.ts'))
  assert.deepEqual(checkout.ran(), ['check'])
})

test('a hook that somebody else put there stays as it is', () => {
  const checkout = new Checkout('foreign')
  mkdirSync(join(checkout.folder, '.git/hooks'), { recursive: true })
  writeFileSync(checkout.hook, '#!/bin/sh\ntrue\n', { mode: 0o755 })
  const { status, stderr } = checkout.install()
  assert.equal(status, 1)
  assert.match(stderr, /not ours: nothing was changed\n {2}next: /)
  assert.equal(readFileSync(checkout.hook, 'utf8'), '#!/bin/sh\ntrue\n')
})
