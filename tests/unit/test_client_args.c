/* Promises of client/indexctl_args.h, indexctl_time.h and indexctl_command.h. */
#include "indexctl_args.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"
#include "indexctl_time.h"

static struct gx_indexctl_args args;

static const struct gx_indexctl_option table[] = {
    {"k", 'k', "N", GX_INDEXCTL_INTEGER, offsetof(struct gx_indexctl_args, k), 1, 1000, "candidates"},
    {"exact", 'x', NULL, GX_INDEXCTL_FLAG, offsetof(struct gx_indexctl_args, exact), 0, 0, "exact"},
    {"min-cosine", '\0', "X", GX_INDEXCTL_REAL, offsetof(struct gx_indexctl_args, min_cosine), -1, 1, "cosine"},
    {"subject", '\0', "ID", GX_INDEXCTL_LIST, offsetof(struct gx_indexctl_args, subjects), 0, 0, "subject"},
    {"probe", 'p', "FILE", GX_INDEXCTL_TEXT, offsetof(struct gx_indexctl_args, probe), 0, 0, "probe"},
    {"captured-from", '\0', "TIME", GX_INDEXCTL_TIME, offsetof(struct gx_indexctl_args, captured_from_us), 0, 0,
     "time"},
    {0},
};

static void begin(void)
{
    args = (struct gx_indexctl_args){0};
}

static void finish(void)
{
    gx_indexctl_args_fini(&args);
}

/* Splits @line at spaces; @text lives as long as the test. */
static enum gx_status parse(const char *line)
{
    static char text[512];
    char *argv[64];
    int argc = 0;
    ck_assert_uint_lt(strlen(line), sizeof(text));
    strcpy(text, line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    return gx_indexctl_args_parse(table, argc, argv, false, &args, NULL);
}

static void assert_refused(const char *line, const char *message)
{
    begin();
    ck_assert_int_eq(parse(line), GX_E_INVALID);
    ck_assert_str_eq(gx_indexctl_fail_text(), message);
    finish();
}

START_TEST(options_and_words_may_be_mixed_in_any_form)
{
    ck_assert_int_eq(parse("one -k 5 --min-cosine=-0.25 two --subject a --exact --subject=b -p- three --json"), GX_OK);
    ck_assert_uint_eq(args.words.n, 3);
    ck_assert_str_eq(args.words.items[0], "one");
    ck_assert_str_eq(args.words.items[2], "three");
    ck_assert(args.k.given && args.k.value == 5);
    ck_assert(args.min_cosine.given && args.min_cosine.value == -0.25);
    ck_assert(args.exact && args.json);
    ck_assert_uint_eq(args.subjects.n, 2);
    ck_assert_str_eq(args.subjects.items[1], "b");
    ck_assert_str_eq(args.probe, "-");
}
END_TEST

START_TEST(letters_may_be_joined_and_a_negative_number_is_a_value)
{
    ck_assert_int_eq(parse("-jxk7 --min-cosine -1"), GX_OK);
    ck_assert(args.json && args.exact);
    ck_assert_int_eq(args.k.value, 7);
    ck_assert(args.min_cosine.value == -1);
}
END_TEST

START_TEST(two_dashes_end_the_options_and_one_is_a_word)
{
    ck_assert_int_eq(parse("- -- --exact -k"), GX_OK);
    ck_assert_uint_eq(args.words.n, 3);
    ck_assert_str_eq(args.words.items[0], "-");
    ck_assert_str_eq(args.words.items[1], "--exact");
    ck_assert_str_eq(args.words.items[2], "-k");
    ck_assert(!args.exact && !args.k.given);
}
END_TEST

START_TEST(what_is_wrong_is_said_with_the_remedy)
{
    finish();
    assert_refused("--exat", "unknown option '--exat'");
    assert_refused("--exac",
                   "unknown option '--exac'"); /* no abbreviations: a later option would change their meaning */
    assert_refused("-z", "unknown option '-z'");
    assert_refused("-k", "-k wants a value: -k N");
    assert_refused("--k", "--k wants a value: --k N");
    assert_refused("-k 0", "--k wants a whole number from 1 to 1000, not '0'");
    assert_refused("-k 1001", "--k wants a whole number from 1 to 1000, not '1001'");
    assert_refused("-k 5x", "--k wants a whole number from 1 to 1000, not '5x'");
    assert_refused("-k 99999999999999999999", "--k wants a whole number from 1 to 1000, not '99999999999999999999'");
    assert_refused("--min-cosine 1.01", "--min-cosine wants a number from -1 to 1, not '1.01'");
    assert_refused("--min-cosine nan", "--min-cosine wants a number from -1 to 1, not 'nan'");
    assert_refused("--exact=yes", "--exact takes no value: leave '=yes' out");
    assert_refused("--subject=", "--subject wants ID, not an empty text");
    assert_refused("--captured-from tomorrow",
                   "--captured-from wants a time like 2024-03-01 or 2024-03-01T12:30:00Z, not 'tomorrow'");
    begin();
}
END_TEST

START_TEST(control_characters_of_arguments_do_not_reach_the_terminal)
{
    finish();
    assert_refused("--\x1b[2J", "unknown option '--?[2J'");
    begin();
}
END_TEST

START_TEST(options_before_the_command_stop_at_its_first_word)
{
    char *argv[] = {(char *)"--json", (char *)"-s", (char *)"h:1", (char *)"search", (char *)"--exact"};
    int n;
    ck_assert_int_eq(gx_indexctl_args_parse(NULL, 5, argv, true, &args, &n), GX_OK);
    ck_assert_int_eq(n, 3);
    ck_assert_str_eq(args.server, "h:1");
    ck_assert(args.json && !args.exact);
}
END_TEST

START_TEST(many_values_of_a_list_are_kept_in_order)
{
    char texts[100][16], *argv[200];
    for (int i = 0; i < 100; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "s%d", i);
        argv[2 * i] = (char *)"--subject";
        argv[2 * i + 1] = texts[i];
    }
    ck_assert_int_eq(gx_indexctl_args_parse(table, 200, argv, false, &args, NULL), GX_OK);
    ck_assert_uint_eq(args.subjects.n, 100);
    for (int i = 0; i < 100; i++)
        ck_assert_str_eq(args.subjects.items[i], texts[i]);
}
END_TEST

/* ---------------------------------------------------------------- commands */

static const struct gx_indexctl_command *find(const char *a, const char *b, int *out_n)
{
    char *argv[] = {(char *)a, (char *)b};
    return gx_indexctl_command_find(b != NULL ? 2 : 1, argv, out_n);
}

START_TEST(commands_are_found_by_all_their_words)
{
    int n;
    ck_assert_str_eq(find("gallery", "create", &n)->words, "gallery create");
    ck_assert_int_eq(n, 2);
    ck_assert_str_eq(find("import", "create", &n)->words, "import");
    ck_assert_int_eq(n, 1);
    ck_assert_ptr_null(find("gallery", NULL, &n));
    ck_assert_str_eq(gx_indexctl_fail_text(), "'gallery' wants to know what: create, list, show, delete, build");
    ck_assert_ptr_null(find("ticket", "burn", &n));
    ck_assert_str_eq(gx_indexctl_fail_text(), "'ticket' cannot 'burn': it can show, list, watch");
    ck_assert_ptr_null(find("galler", "create", &n));
    ck_assert_str_eq(gx_indexctl_fail_text(), "there is no command 'galler': see 'indexctl --help'");
}
END_TEST

/* The value's own option, or a common one: the same letter or name twice would hide one. */
static void check_options(const struct gx_indexctl_command *c)
{
    for (const struct gx_indexctl_option *o = c->options; o != NULL && o->name != NULL; o++) {
        ck_assert_msg(o->offset < sizeof(struct gx_indexctl_args), "%s --%s", c->words, o->name);
        ck_assert_msg((o->type == GX_INDEXCTL_FLAG) == (o->value == NULL), "%s --%s", c->words, o->name);
        ck_assert_msg(o->help[0] != '\0', "%s --%s", c->words, o->name);
        for (const struct gx_indexctl_option *other = gx_indexctl_args_common; other->name != NULL; other++)
            ck_assert_msg(strcmp(o->name, other->name) != 0 && (o->letter == '\0' || o->letter != other->letter),
                          "%s --%s", c->words, o->name);
        for (const struct gx_indexctl_option *other = c->options; other != o; other++)
            ck_assert_msg(strcmp(o->name, other->name) != 0 && (o->letter == '\0' || o->letter != other->letter),
                          "%s --%s", c->words, o->name);
    }
}

/* An example's words, up to what is the shell's, go the way that main takes. */
static void check_example(const struct gx_indexctl_command *c, const char *line)
{
    char text[256], *argv[32];
    int argc = 0, n, n_words;
    const char *begin_at = strstr(line, "indexctl ");
    ck_assert_ptr_nonnull(begin_at);
    (void)snprintf(text, sizeof(text), "%.*s", (int)strcspn(begin_at, "\n|&><"), begin_at);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        argv[argc++] = word;
    begin();
    ck_assert_int_eq(gx_indexctl_args_parse(NULL, argc - 1, argv + 1, true, &args, &n), GX_OK);
    n++;
    ck_assert_ptr_eq(gx_indexctl_command_find(argc - n, argv + n, &n_words), c);
    n += n_words;
    ck_assert_msg(gx_indexctl_args_parse(c->options, argc - n, argv + n, false, &args, NULL) == GX_OK, "%s: %s", line,
                  gx_indexctl_fail_text());
    ck_assert_uint_ge(args.words.n, c->min_operands);
    ck_assert_uint_le(args.words.n, c->max_operands);
    finish();
}

START_TEST(every_command_has_help_with_examples_that_parse)
{
    static const struct gx_indexctl_command *const tables[] = {
        gx_indexctl_gallery_commands, gx_indexctl_import_commands,  gx_indexctl_search_commands,
        gx_indexctl_record_commands,  gx_indexctl_expunge_commands, gx_indexctl_hold_commands,
        gx_indexctl_stats_commands,
    };
    for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
        for (const struct gx_indexctl_command *c = tables[t]; c->words != NULL; c++) {
            ck_assert_ptr_nonnull(c->run);
            check_options(c);
            char *text = NULL;
            size_t len;
            FILE *out = open_memstream(&text, &len);
            ck_assert_ptr_nonnull(out);
            gx_indexctl_command_help(out, c);
            ck_assert_int_eq(fclose(out), 0);
            const char *line = strstr(text, "\nexamples:\n");
            ck_assert_ptr_nonnull(line);
            for (line += strlen("\nexamples:\n"); *line != '\0'; line = strchr(line, '\n') + 1)
                check_example(c, line);
            free(text);
        }
}
END_TEST

/* ---------------------------------------------------------------- times */

START_TEST(times_are_read_as_utc_with_any_zone)
{
    static const struct {
        const char *text;
        int64_t us;
    } good[] = {
        {"1970-01-01", 0},
        {"1970-01-01T00:00:01Z", 1000000},
        {"2024-03-01", 1709251200000000},
        {"2024-03-01T12:30:00Z", 1709296200000000},
        {"2024-03-01 12:30:00z", 1709296200000000},
        {"2024-03-01t12:30:00.25+01:00", 1709292600250000},
        {"2024-03-01T12:30:00.123456789-00:30", 1709298000123456},
        {"1969-12-31T23:59:59.5Z", -500000},
        {"2024-02-29", 1709164800000000},
        {"2000-02-29", 951782400000000},
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t us;
        ck_assert_msg(gx_indexctl_time_parse(good[i].text, &us), "%s", good[i].text);
        ck_assert_msg(us == good[i].us, "%s gives %lld", good[i].text, (long long)us);
    }
}
END_TEST

START_TEST(what_is_no_time_is_refused)
{
    static const char *const bad[] = {
        "",
        "2024",
        "2024-3-1",
        "2024-13-01",
        "2024-00-10",
        "2024-02-30",
        "2023-02-29",
        "1900-02-29",
        "0024-01-01",
        "2024-03-01T",
        "2024-03-01T12:30:00",
        "2024-03-01T12:30Z",
        "2024-03-01T24:00:00Z",
        "2024-03-01T12:60:00Z",
        "2024-03-01T12:30:61Z",
        "2024-03-01T12:30:00.Z",
        "2024-03-01T12:30:00+1:00",
        "2024-03-01T12:30:00Zx",
        "2024-03-01x",
        " 2024-03-01",
        "yesterday",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t us;
        ck_assert_msg(!gx_indexctl_time_parse(bad[i], &us), "'%s' gave %lld", bad[i], (long long)us);
    }
}
END_TEST

START_TEST(times_are_written_as_they_are_read)
{
    static const char *const texts[] = {"2024-03-01T12:30:00Z", "2024-03-01T12:30:00.25Z",
                                        "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"};
    char out[GX_INDEXCTL_TIME_MAX];
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t us;
        ck_assert(gx_indexctl_time_parse(texts[i], &us));
        ck_assert_str_eq(gx_indexctl_time_format(us, out), texts[i]);
    }
    ck_assert_str_eq(gx_indexctl_time_format(0, out), "");
    ck_assert_str_eq(gx_indexctl_time_format(INT64_MAX, out), "9223372036854775807 us");
    ck_assert_uint_gt(strlen(gx_indexctl_time_format(INT64_MIN, out)), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_args");
    TCase *t = tcase_create("args");
    tcase_add_checked_fixture(t, begin, finish);
    tcase_add_test(t, options_and_words_may_be_mixed_in_any_form);
    tcase_add_test(t, letters_may_be_joined_and_a_negative_number_is_a_value);
    tcase_add_test(t, two_dashes_end_the_options_and_one_is_a_word);
    tcase_add_test(t, what_is_wrong_is_said_with_the_remedy);
    tcase_add_test(t, control_characters_of_arguments_do_not_reach_the_terminal);
    tcase_add_test(t, options_before_the_command_stop_at_its_first_word);
    tcase_add_test(t, many_values_of_a_list_are_kept_in_order);
    suite_add_tcase(suite, t);
    t = tcase_create("commands and times");
    tcase_add_test(t, commands_are_found_by_all_their_words);
    tcase_add_test(t, every_command_has_help_with_examples_that_parse);
    tcase_add_test(t, times_are_read_as_utc_with_any_zone);
    tcase_add_test(t, what_is_no_time_is_refused);
    tcase_add_test(t, times_are_written_as_they_are_read);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
