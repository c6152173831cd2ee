/** Whether two globs can mean one path is decided without a miss, and in a time that grows only with their length. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { GLOB_MAX, overlap, parseGlob, quotePath } from '#fleet/path-glob.ts'
import { literalPath } from './literal-path.ts'

const meet = (one: string, other: string): boolean => overlap(parseGlob(one), parseGlob(other))

for (const [one, other, does] of [
  ['src/store/', 'src/store/a.ts', true],
  ['src/store', 'src/store/deep/a.ts', true],
  ['src/store', 'src/store', true],
  ['src/store', 'src/storage/a.ts', false],
  ['src/store/a.ts', 'src/store/b.ts', false],
  ['src/*.ts', 'src/a.md', false],
  ['src/*.ts', 'src/deep/a.ts', false],
  ['src/**/*.ts', 'src/a.ts', true],
  ['src/**/*.ts', 'src/x/y/a.ts', true],
  ['src/**/*.ts', 'src/x/y/a.md', false],
  ['**/*.ts', 'README.md', false],
  ['**/package.json', 'src/app.ts', false],
  ['**', 'anything/at/all', true],
  ['.', 'a', true],
  ['*/b/*', 'a/*/c', true],
  ['a*c', 'ab*', true],
  ['a*c', '*b', false],
  ['a?c.ts', 'abc.ts', true],
  ['./src//a.ts', 'src/a.ts', true],
  ['README.md', 'readme.MD', true],
  ['caf\u00e9.ts', 'cafe\u0301.ts', true],
  ['e*.ts', 'e\u0301.ts', true],
  ['*\u0301.ts', 'caf\u00e9.ts', true],
  ['\u039f\u0394\u039f\u03a3*', '\u039f\u0394\u039f\u03a3\u0391.ts', true],
  ['Makefile', 'Makefile', true],
  ['.github', '.github/workflows/ci.yml', true],
  ['app/\\[id\\]/page.tsx', 'app/\\[id\\]/page.tsx', true],
  ['a/**/b.c/**/d.e', 'a/b.c/d.e', true],
  ['a/**/b.c/**/d.e', 'a/b.c/x.y', false],
] as const) {
  test(`${one} and ${other}: ${does ? 'one path can be both' : 'no path is both'}`, () => {
    assert.equal(meet(one, other), does)
    assert.equal(meet(other, one), does)
  })
}

for (const glob of [
  '/etc/passwd',
  '../x',
  'a/../../x',
  'a[bc].ts',
  'a{b,c}.ts',
  '!a',
  'a\0b',
  'a\\',
  'x'.repeat(GLOB_MAX + 1),
]) {
  test(`${JSON.stringify(glob.slice(0, 20))} is refused`, () => {
    assert.throws(() => parseGlob(glob), { code: 'invalid' })
  })
}

const NAMES = ['a', 'b', 'ab', 'ba', 'a.b', 'b.a', '.a', 'aab.b']
const name = fc.constantFrom(...NAMES)
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join('/'))
const pattern = fc.oneof(
  { weight: 2, arbitrary: name },
  { weight: 1, arbitrary: fc.constant('**') },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.constantFrom('a', 'b', '.', '*', '?'), { minLength: 1, maxLength: 4 })
      .map((all) => all.join('')),
  },
)
const glob = fc
  .tuple(fc.array(pattern, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([names, isFolder]) => names.map((each) => each.replace(/^\.{1,2}$/, 'a')).join('/') + (isFolder ? '/' : ''))

/** The same by a regular expression, in another way: what a glob says of one path. */
function means(text: string, of: string): boolean {
  const names = text.split('/').filter((each) => each !== '')
  const folder = text.endsWith('/') || names.length === 0
  const expression = names.map((each) =>
    each === '**' ? '**' : each.replaceAll('.', '\\.').replaceAll(/\*+/g, '[^/]*').replaceAll('?', '[^/]'),
  )
  let source = ''
  for (const [index, each] of expression.entries()) {
    if (each === '**') source += index === expression.length - 1 ? '.*' : '(?:[^/]+/)*'
    else source += index === expression.length - 1 ? each : `${each}/`
  }
  if (folder) source = source === '' ? '.*' : `${source.replace(/\/$/, '')}/.*`
  return new RegExp(`^${source}$`, 's').test(of)
}

/** Globs made of a path, most of which mean it: names are kept, blurred, or left to `**`. */
function globOf(file: string): fc.Arbitrary<string> {
  const blurred = (each: string): fc.Arbitrary<string> =>
    fc.oneof(
      fc.constant(each),
      fc.constantFrom('*', '**', `${each}*`, `*${each}`, `${each}/**`, `**/${each}`),
      fc.nat(each.length - 1).map((at) => `${each.slice(0, at)}?${each.slice(at + 1)}`),
      fc
        .tuple(fc.nat(each.length), fc.nat(each.length))
        .map(([from, to]) => `${each.slice(0, from)}*${each.slice(to)}`),
    )
  const names = fc.tuple(...file.split('/').map(blurred))
  return fc.tuple(names, fc.nat(4)).map(([all, cut]) => (cut === 0 ? `${all[0]}/` : all.join('/')))
}

test('no overlap is missed: a path that both mean is told', () => {
  let seen = 0
  const scene = path.chain((file) => fc.tuple(globOf(file), globOf(file), fc.constant(file)))
  fc.assert(
    fc.property(scene, ([one, other, file]) => {
      if (!means(one, file) || !means(other, file)) return
      seen += 1
      assert.ok(meet(one, other), `${one} and ${other} mean ${file}`)
    }),
    { numRuns: 10_000 },
  )
  assert.ok(seen > 2_000, `only ${seen} of the globs mean their path`)
})

test('a glob and a path that it means overlap, and so do two that mean one file', () => {
  fc.assert(
    fc.property(glob, path, (one, file) => {
      if (means(one, file)) assert.ok(overlap(parseGlob(one), literalPath(file)), `${one} means ${file}`)
    }),
    { numRuns: 20_000 },
  )
})

test('what is told of two globs is true: a path can be shown, of names that they are made of', () => {
  const files = NAMES.flatMap((a) => [a, ...NAMES.flatMap((b) => [`${a}/${b}`, ...NAMES.map((c) => `${a}/${b}/${c}`)])])
  const plain = fc
    .array(fc.oneof(name, fc.constantFrom('**', '*', 'a*', '*b', '*.b')), { minLength: 1, maxLength: 2 })
    .map((names) => `${names.join('/')}`)
  fc.assert(
    fc.property(plain, plain, (one, other) => {
      const told = meet(one, other)
      const shown = files.some((file) => [one, other].every((each) => overlap(parseGlob(each), literalPath(file))))
      assert.equal(told, shown, `${one} and ${other}`)
    }),
    { numRuns: 300 },
  )
})

test('overlap is the same from both sides, and each glob overlaps itself', () => {
  fc.assert(
    fc.property(glob, glob, (one, other) => {
      assert.equal(meet(one, other), meet(other, one))
      assert.ok(meet(one, one))
    }),
  )
})

test('a path in quotes means itself, whatever signs it has', () => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 20 }).filter((text) => !/[/\0]|^\.{1,2}$/.test(text)),
      (file) => {
        assert.ok(overlap(parseGlob(quotePath(file)), literalPath(file)))
      },
    ),
  )
})

test('the worst globs cost little', () => {
  const worst = `**/${'*a'.repeat(90)}*/b.c`
  const whole = `${'a'.repeat(190)}/b.d`
  const began = process.hrtime.bigint()
  for (let round = 0; round < 1_000; round += 1) meet(worst, whole)
  const ms = Number(process.hrtime.bigint() - began) / 1e6
  assert.ok(ms < 2_000, `1,000 comparisons took ${ms} ms`)
})
