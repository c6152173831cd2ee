/** Many globs at once say of a path what each of them says, in a time that no glob makes long. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { overlap, parseGlob } from '#fleet/path-glob.ts'
import { PathMatcher } from '#fleet/path-matcher.ts'
import { literalPath } from './literal-path.ts'

/** What each glob says for itself: the slow way. */
function oneByOne(globs: readonly string[], path: string): number[] {
  const literal = literalPath(path)
  return globs.flatMap((glob, index) => (overlap(literal, parseGlob(glob)) ? [index] : []))
}

function assertSame(globs: readonly string[], paths: readonly string[]): number {
  const matcher = new PathMatcher(globs.map(parseGlob))
  let meant = 0
  for (const path of paths) {
    const found = matcher.meaning(path)
    assert.deepEqual([...found], oneByOne(globs, path), `${JSON.stringify(globs)} of ${JSON.stringify(path)}`)
    meant += found.length
  }
  return meant
}

const letters = (from: readonly string[], most: number): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...from), { minLength: 1, maxLength: most }).map((all) => all.join(''))
const fileName = letters(['a', 'b', 'A', '.', '*', 'e\u0301', '\u00e9', '\u03a3', '\u{1f680}', '[', '\\'], 5).filter(
  (name) => !/^\.{1,2}$/.test(name),
)
const path = fc.array(fileName, { minLength: 1, maxLength: 6 }).map((names) => names.join('/'))
const patternName = letters(
  ['a', 'b', 'B', '.', '*', '?', '**', '\\*', '\\[', '\\\\', 'e', '\u0301', '\u00e9', '\u03c3', '\u{1f680}'],
  5,
).filter((name) => !/^\.{1,2}$/.test(name))
const glob = fc
  .tuple(fc.array(fc.oneof(patternName, fc.constantFrom('**', '*')), { minLength: 1, maxLength: 6 }), fc.boolean())
  .map(([names, isFolder]) => names.join('/') + (isFolder ? '/' : ''))

test('of any globs and paths, the matcher says what each glob says for itself', () => {
  let meant = 0
  const scene = fc.tuple(fc.array(glob, { maxLength: 12 }), fc.array(path, { minLength: 1, maxLength: 12 }))
  fc.assert(
    fc.property(scene, ([globs, paths]) => {
      meant += assertSame(globs, paths)
    }),
    { numRuns: 4_000 },
  )
  assert.ok(meant > 20_000, `only ${meant} paths were meant`)
})

test('the same of few letters, where the beginnings of names come again and again', () => {
  const few = letters(['a', 'b'], 2)
  const paths = fc.array(
    fc.array(few, { minLength: 1, maxLength: 9 }).map((names) => names.join('/')),
    { minLength: 1, maxLength: 6 },
  )
  const piece = fc.oneof(few, fc.constantFrom('**', '**', '*', 'a*', '*b', 'a*a', 'b.'))
  const globs = fc.array(
    fc.array(piece, { minLength: 1, maxLength: 9 }).map((names) => names.join('/')),
    { minLength: 1, maxLength: 6 },
  )
  fc.assert(
    fc.property(globs, paths, (all, files) => void assertSame(all, files)),
    { numRuns: 6_000 },
  )
})

for (const [globs, file, meant] of [
  [['src/store', 'src', '**', 'src/store/a.ts', '*.ts', '**/*.ts'], 'src/store/a.ts', [0, 1, 2, 3, 5]],
  [['src/store', 'src/**/store', '**/**'], 'src/store', [0, 1, 2]],
  [['**/a/**/a/b.c', '**/a/a/b.c'], 'a/x/a/a/b.c', [0, 1]],
  [['a*b*c', 'a\\*b*c', 'A*'], 'a*bc', [0, 1, 2]],
  [['a*a.b'], 'a.b', []],
  [['__proto__', 'constructor/x.y'], '__proto__', [0]],
  [[], 'a', []],
] as const) {
  test(`of ${JSON.stringify(globs)}, ${file} is meant by ${JSON.stringify(meant)}`, () => {
    assert.deepEqual([...new PathMatcher(globs.map(parseGlob)).meaning(file)], meant)
    assertSame(globs, [file])
  })
}

test('files of one folder that the same globs mean have one list', () => {
  const matcher = new PathMatcher(['src', '**', '**/*.ts'].map(parseGlob))
  assert.equal(matcher.meaning('src/a.md'), matcher.meaning('src/b.md'))
})

/** Globs that go on for as long as they can, in names and over folders. */
const HOSTILE = Array.from({ length: 200 }, (_, index) => {
  const [few, many] = ['*a'.repeat(20 + (index % 60)), '**/a*/'.repeat(1 + (index % 25))]
  return [
    `**/${few}*z${index}.b`,
    `${many}*a${index}.b`,
    `**/*/${few}*/**/*.${index}`,
    `${'*/'.repeat(4)}**/*a*a*${index}`,
  ][index % 4] as string
})

test('a commit of 50,000 files is told from 200 hostile globs within two seconds', () => {
  const paths = Array.from(
    { length: 50_000 },
    (_, index) => `aa/a${index % 7}/aaaa/a${index % 211}/${'a'.repeat(index % 40)}${index}.b`,
  )
  const began = process.cpuUsage()
  const matcher = new PathMatcher(HOSTILE.map(parseGlob))
  const meant = paths.filter((each) => matcher.meaning(each).length > 0).length
  const { user, system } = process.cpuUsage(began)
  assert.ok(meant > 0)
  assert.ok(user + system < 2e6, `it took ${(user + system) / 1e6} s of a processor`)
  assertSame(HOSTILE, paths.slice(0, 60))
})
