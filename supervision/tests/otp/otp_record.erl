%% Records what the real `supervisor' of OTP does: scripted children, exits at given seconds, one JSON line
%% for each scenario. scripts/record-otp.sh runs it; supervision/src/core/tests/otp.rs reads the lines.
%%
%% Time. OTP counts restarts by whole seconds of the monotonic clock. Every step happens early in a second and
%% must be over before the second is, so that whole seconds say all there is to say.
%%
%% Order. The exits of one step are all in the supervisor's mailbox before it looks at the first (it is suspended
%% meanwhile). The emulator runs with one scheduler, so the log sees ends and starts in the order they happened.
-module(otp_record).
-behaviour(supervisor).

-export([main/0, init/1, begin_child/2, born/3]).

%% Of the generator of random scenarios.
-define(SEED, {20, 25, 3}).
-define(RANDOM_TREES, 240).
-define(RANDOM_NESTED, 40).
-define(RANDOM_ALONE, 60).
-define(RANDOM_SETS, 40).
%% When in a second a step may begin, and when it must be over, in milliseconds.
-define(EARLY, 150).
-define(LATE_BEGIN, 450).
-define(LATE_END, 900).
%% How many scenarios begin in the same second.
-define(SIDE_BY_SIDE, 40).
%% How often a scenario that was too slow is tried again.
-define(TRIES, 5).

main() ->
    [Out] = init:get_plain_arguments(),
    logger:set_primary_config(level, none),
    rand:seed(exsss, ?SEED),
    Scenarios = table() ++ random_trees() ++ random_nested() ++ random_alone() ++ random_sets(),
    Self = self(),
    Numbered = lists:zip(lists:seq(0, length(Scenarios) - 1), Scenarios),
    Pids = [spawn_link(fun() -> Self ! {self(), attempt(I, S, ?TRIES)} end) || {I, S} <- Numbered],
    Lines = [receive {Pid, Line} -> Line end || Pid <- Pids],
    Head = json(#{otp => list_to_binary(erlang:system_info(otp_release)),
                  stdlib => list_to_binary(version()), scenarios => length(Lines)}),
    ok = file:write_file(Out, [[L, $\n] || L <- [Head | Lines]]),
    io:format("~b scenarios~n", [length(Lines)]),
    halt(0).

version() ->
    _ = application:load(stdlib),
    {ok, Version} = application:get_key(stdlib, vsn),
    Version.

%% ---- one scenario ----

attempt(_, #{name := Name}, 0) ->
    io:format("~s: this machine is too slow to record it~n", [Name]),
    halt(1);
attempt(I, Scenario, Tries) ->
    timer:sleep((I div ?SIDE_BY_SIDE) * 1000),
    {Pid, Ref} = spawn_monitor(fun() -> exit({line, play(Scenario)}) end),
    receive
        {'DOWN', Ref, process, Pid, {line, Line}} -> Line;
        {'DOWN', Ref, process, Pid, too_slow} -> attempt(I, Scenario, Tries - 1)
    end.

play(Scenario = #{steps := Steps}) ->
    process_flag(trap_exit, true),
    Log = spawn_link(fun log/0),
    Started = supervised(Log, Scenario),
    Played = play_steps(Log, maps:get(sup, Started), Steps, [maps:remove(sup, Started)]),
    json(#{name => maps:get(name, Scenario), spec => json_spec(Scenario), steps => Played}).

supervised(Log, Scenario) ->
    At = soon(),
    ask(Log, {step, At}),
    Sup = case supervisor:start_link(?MODULE, {Log, <<>>, Scenario}) of
              {ok, Pid} ->
                  ask(Log, {alive, <<>>, Pid}),
                  Pid;
              {error, {shutdown, {failed_to_start_child, Id, _}}} ->
                  ask(Log, {note, [<<"over failed ">>, Id]}),
                  none
          end,
    Left = settled(Sup),
    (step_of(Log, At, [<<"begin">>], Left))#{sup => Sup}.

play_steps(Log, Sup, Steps, Done) ->
    case {Steps, is_up(Sup)} of
        {_, false} -> lists:reverse(Done);
        {[], true} -> lists:reverse([stop(Log, Sup) | Done]);
        {[{Gap, Deeds} | Rest], true} ->
            At = early(Gap),
            ask(Log, {step, At}),
            Results = deeds(Log, Sup, Deeds),
            Left = settled(Sup),
            Step = step_of(Log, At, [deed(D) || D <- Deeds], Left),
            Step1 = case Results of
                        [] -> Step;
                        _ -> Step#{results => Results}
                    end,
            play_steps(Log, Sup, Rest, [Step1 | Done])
    end.

stop(Log, Sup) ->
    At = early(0),
    ask(Log, {step, At}),
    exit(Sup, shutdown),
    receive {'EXIT', Sup, _} -> ok end,
    step_of(Log, At, [<<"stop">>], []).

step_of(Log, At, Do, Left) ->
    Saw = ask(Log, saw),
    #{at => At - ask(Log, zero), do => Do, saw => Saw, left => Left}.

is_up(none) -> false;
is_up(Sup) -> is_process_alive(Sup).

%% Exits of children are causes; the rest are commands to the supervisor, with results.
deeds(Log, Sup, Deeds) ->
    Exits = [E || E = {exit, _, _} <- Deeds],
    case Exits of
        [] -> ok;
        _ ->
            erlang:suspend_process(Sup),
            [die(Log, Id, Reason) || {exit, Id, Reason} <- Exits],
            erlang:resume_process(Sup)
    end,
    [command(Log, Sup, C) || C <- Deeds, element(1, C) =/= exit].

die(Log, Id, Reason) ->
    case ask(Log, {pid, Id}) of
        none -> ok;
        Pid ->
            Ref = monitor(process, Pid),
            case Reason of
                kill -> exit(Pid, kill);
                _ -> Pid ! {die, Reason}
            end,
            receive {'DOWN', Ref, process, Pid, _} -> ok end
    end.

command(Log, Sup, {start, Child}) ->
    result(supervisor:start_child(Sup, child_spec(Log, <<>>, Child)));
command(Log, Sup, {join, Child = #{id := Id}}) ->
    ask(Log, {script, Id, Child}),
    result(supervisor:start_child(Sup, [Child]));
command(Log, Sup, {leave, Id}) ->
    case ask(Log, {pid, Id}) of
        none -> <<"not_found">>;
        Pid -> result(supervisor:terminate_child(Sup, Pid))
    end;
command(_, Sup, {terminate, Id}) -> result(supervisor:terminate_child(Sup, Id));
command(_, Sup, {restart, Id}) -> result(supervisor:restart_child(Sup, Id));
command(_, Sup, {delete, Id}) -> result(supervisor:delete_child(Sup, Id)).

result(ok) -> <<"ok">>;
result({ok, _}) -> <<"ok">>;
result({error, Reason}) when is_atom(Reason) -> atom_to_binary(Reason);
result({error, {Reason, _}}) when is_atom(Reason) -> atom_to_binary(Reason);
result({error, _}) -> <<"failed">>.

%% What is there when the supervisors have nothing more to do: two looks at all of them see the same.
settled(none) -> [];
settled(Sup) -> settled(Sup, look(Sup)).

settled(Sup, dead) -> receive {'EXIT', Sup, _} -> in_time(), [] end;
settled(Sup, Seen) ->
    case {look(Sup), is_quiet(Seen)} of
        {Seen, true} ->
            in_time(),
            [left(C) || {C, _} <- Seen];
        {Again, _} -> settled(Sup, Again)
    end.

%% The children of a supervisor, with those below them. Its answer comes after it handled what it was sent before.
look(Sup) ->
    try lists:reverse(supervisor:which_children(Sup)) of
        Children -> [{C, below_of(C)} || C <- Children]
    catch
        exit:_ -> dead
    end.

below_of({_, Pid, supervisor, _}) when is_pid(Pid) -> look(Pid);
below_of(_) -> [].

is_quiet(Seen) ->
    lists:all(fun({{_, restarting, _, _}, _}) -> false;
                 ({_, dead}) -> false;
                 ({_, Below}) -> is_quiet(Below)
              end, Seen).

left({undefined, _, _, _}) -> <<"up">>;
left({Id, undefined, _, _}) -> <<Id/binary, " down">>;
left({Id, _, _, _}) -> <<Id/binary, " up">>.

%% Waits for the early part of the next second; that second.
soon() ->
    {_, Ms} = into_second(),
    timer:sleep(1000 - Ms + ?EARLY),
    early(0).

%% Waits until so many seconds have passed since this one; the second that it is then.
early(Gap) ->
    {Second, Ms} = into_second(),
    timer:sleep(max(0, Gap * 1000 + ?EARLY - Ms)),
    Target = Second + Gap,
    case into_second() of
        {Target, Late} when Late >= ?EARLY, Late =< ?LATE_BEGIN -> Target;
        _ -> exit(too_slow)
    end.

in_time() ->
    case into_second() of
        {_, Ms} when Ms =< ?LATE_END, Ms >= ?EARLY -> ok;
        _ -> exit(too_slow)
    end.

into_second() ->
    Now = erlang:monotonic_time(millisecond),
    Second = erlang:convert_time_unit(Now, millisecond, second),
    {Second, Now - Second * 1000}.

%% ---- the supervisors ----

init({Log, Above, Spec = #{strategy := Strategy, intensity := Intensity, period := Period}}) ->
    Flags = #{strategy => Strategy, intensity => Intensity, period => Period},
    Children = case Strategy of
                   simple_one_for_one -> [template(Log, Spec)];
                   _ -> [child_spec(Log, Above, C) || C <- maps:get(children, Spec)]
               end,
    {ok, {Flags, Children}}.

%% A set has one specification for all.
template(Log, #{template := Template}) ->
    (child_spec(Log, <<>>, Template#{id => <<"template">>}))#{start => {?MODULE, begin_child, [Log]}}.

child_spec(Log, Above, Child = #{id := Name, restart := Restart, shutdown := Shutdown}) ->
    Id = below(Above, Name),
    ask(Log, {script, Id, Child}),
    Stop = case Shutdown of
               S when is_integer(S) -> S * 1000;
               Other -> Other
           end,
    Type = case Child of
               #{strategy := _} -> supervisor;
               _ -> worker
           end,
    #{id => Id, restart => Restart, shutdown => Stop, type => Type,
      start => {?MODULE, begin_child, [Log, Child#{id := Id}]}}.

below(<<>>, Name) -> Name;
below(Above, Name) -> <<Above/binary, "/", Name/binary>>.

%% ---- the children ----

begin_child(Log, Child = #{id := Id}) ->
    Turn = ask(Log, {starting, Id}),
    case {Turn, Child} of
        {ok, #{strategy := _}} -> begin_supervisor(Log, Child);
        {ok, _} -> begin_worker(Log, Child);
        {{slow, S}, _} -> timer:sleep(S * 1000), begin_worker(Log, Child);
        {{slow_fail, S}, _} -> timer:sleep(S * 1000), failed(Log, Id, crash);
        {ignore, _} -> ignore;
        {{fail, Reason}, _} -> failed(Log, Id, Reason)
    end.

failed(Log, Id, Reason) ->
    ask(Log, {note, [<<"fail ">>, Id]}),
    {error, Reason}.

begin_worker(Log, Child) -> proc_lib:start_link(?MODULE, born, [self(), Log, Child]).

begin_supervisor(Log, Child = #{id := Id}) ->
    case supervisor:start_link(?MODULE, {Log, Id, Child}) of
        {ok, Pid} ->
            ask(Log, {alive, Id, Pid}),
            {ok, Pid};
        {error, Reason} -> failed(Log, Id, Reason)
    end.

born(Parent, Log, Child = #{id := Id}) ->
    process_flag(trap_exit, true),
    ask(Log, {alive, Id, self()}),
    proc_lib:init_ack(Parent, {ok, self()}),
    live(Parent, Log, Child).

live(Parent, Log, Child = #{stop := Stop}) ->
    receive
        {die, Reason} -> exit(Reason);
        {'EXIT', Parent, Reason} ->
            case Stop of
                obey -> exit(Reason);
                other -> exit(crash);
                quiet -> exit(normal);
                ignore -> live(Parent, Log, Child);
                {late, S} -> timer:sleep(S * 1000), exit(Reason);
                {takes, Id} -> die(Log, Id, crash), exit(Reason)
            end
    end.

%% ---- the log ----

ask(Log, Question) ->
    Ref = monitor(process, Log),
    Log ! {Ref, self(), Question},
    receive
        {Ref, Answer} -> demonitor(Ref, [flush]), Answer;
        {'DOWN', Ref, process, Log, Why} -> exit(Why)
    end.

log() -> log(#{zero => none, at => 0, saw => [], pids => #{}, scripts => #{}}).

log(State = #{zero := Zero, saw := Saw, pids := Pids, scripts := Scripts}) ->
    receive
        {'DOWN', _, process, Pid, Reason} ->
            [{Id, _}] = [E || E = {_, P} <- maps:to_list(Pids), P =:= Pid],
            State1 = State#{pids := maps:remove(Id, Pids)},
            case Id of
                <<>> -> log(note([<<"over ">>, word(Reason)], State1));
                _ -> log(note([<<"end ">>, Id, <<" ">>, word(Reason)], State1))
            end;
        {Ref, From, {step, At}} when Zero =:= none ->
            From ! {Ref, ok},
            log(State#{zero := At, at := At});
        {Ref, From, {step, At}} ->
            From ! {Ref, ok},
            log(State#{at := At, saw := []});
        {Ref, From, zero} ->
            From ! {Ref, Zero},
            log(State);
        {Ref, From, saw} ->
            From ! {Ref, lists:reverse(Saw)},
            log(State#{saw := []});
        {Ref, From, {pid, Id}} ->
            From ! {Ref, maps:get(Id, Pids, none)},
            log(State);
        {Ref, From, {script, Id, Child}} ->
            %% A supervisor that comes again declares its children again: their scripts go on.
            From ! {Ref, ok},
            Fresh = Scripts#{Id => maps:get(starts, Child, [])},
            log(State#{scripts := maps:merge(Fresh, Scripts)});
        {Ref, From, {starting, Id}} ->
            {Turn, Rest} = case maps:get(Id, Scripts, []) of
                               [] -> {ok, []};
                               [T | R] -> {T, R}
                           end,
            From ! {Ref, Turn},
            log(note([<<"start ">>, Id], State#{scripts := Scripts#{Id => Rest}}));
        {Ref, From, {alive, Id, Pid}} ->
            monitor(process, Pid),
            From ! {Ref, ok},
            log(State#{pids := Pids#{Id => Pid}});
        {Ref, From, {note, Text}} ->
            From ! {Ref, ok},
            log(note(Text, State))
    end.

%% What happens in a later second than its step began in says so.
note(Text, State = #{at := At, saw := Saw}) ->
    {Second, _} = into_second(),
    Late = case Second - At of
               0 -> <<>>;
               N -> [<<" +">>, integer_to_binary(N)]
           end,
    State#{saw := [iolist_to_binary([Text, Late]) | Saw]}.

word({shutdown, _}) -> <<"shutdown_x">>;
word(Reason) when is_atom(Reason) -> atom_to_binary(Reason).

%% ---- as JSON ----

json_spec(Spec) ->
    Keys = [strategy, intensity, period, id, restart, shutdown, starts, stop, children, template],
    maps:from_list([{K, json_field(K, maps:get(K, Spec))} || K <- Keys, maps:is_key(K, Spec), worth(K, Spec)]).

%% The usual is left out.
worth(K, Spec) -> not lists:member({K, maps:get(K, Spec)}, [{starts, []}, {stop, obey}, {restart, permanent}, {shutdown, 5}]).

json_field(children, Children) -> [json_spec(C) || C <- Children];
json_field(template, Template) -> json_spec(Template);
json_field(starts, Starts) -> [turn(T) || T <- Starts];
json_field(stop, {late, S}) -> <<"late ", (integer_to_binary(S))/binary>>;
json_field(stop, {takes, Id}) -> <<"takes ", Id/binary>>;
json_field(_, Value) -> Value.

turn({fail, crash}) -> <<"fail">>;
turn({fail, normal}) -> <<"fail normal">>;
turn({slow, S}) -> <<"slow ", (integer_to_binary(S))/binary>>;
turn({slow_fail, S}) -> <<"slow_fail ", (integer_to_binary(S))/binary>>;
turn(Plain) -> Plain.

deed({exit, Id, {shutdown, _}}) -> <<"shutdown_x ", Id/binary>>;
deed({exit, Id, Reason}) -> <<(atom_to_binary(Reason))/binary, " ", Id/binary>>;
deed({start, #{id := Id}}) -> <<"start ", Id/binary>>;
deed({join, #{id := Id}}) -> <<"join ", Id/binary>>;
deed({What, Id}) -> <<(atom_to_binary(What))/binary, " ", Id/binary>>.

json(Map) when is_map(Map) ->
    Order = [name, otp, stdlib, scenarios, spec, id, strategy, intensity, period, restart, shutdown, starts, stop,
             children, template, steps, at, do, results, saw, left],
    Fields = [[json(K), $:, json(maps:get(K, Map))] || K <- Order, maps:is_key(K, Map), maps:get(K, Map) =/= []],
    [${, lists:join($,, Fields), $}];
json(List) when is_list(List) -> [$[, lists:join($,, [json(E) || E <- List]), $]];
json(Number) when is_integer(Number) -> integer_to_binary(Number);
json(Atom) when is_atom(Atom) -> [$", atom_to_binary(Atom), $"];
%% Names and words of this file only: nothing to escape.
json(Text) when is_binary(Text) -> [$", Text, $"].

%% ---- the table ----

child(Id) -> child(Id, permanent).
child(Id, Restart) -> #{id => Id, restart => Restart, shutdown => 5, starts => [], stop => obey}.

tree(Name, Strategy, {Intensity, Period}, Children, Steps) ->
    #{name => Name, strategy => Strategy, intensity => Intensity, period => Period, children => Children,
      steps => Steps}.

inner(Id, Restart, Strategy, {Intensity, Period}, Children) ->
    (child(Id, Restart))#{shutdown := infinity, strategy => Strategy, intensity => Intensity, period => Period,
                          children => Children}.

abc() -> [child(<<"a">>), child(<<"b">>), child(<<"c">>)].

at(Gap, Exits) -> {Gap, [{exit, Id, Reason} || {Reason, Id} <- Exits]}.

strategies() -> [one_for_one, one_for_all, rest_for_one].

named(Parts) -> iolist_to_binary(lists:join($\s, [if is_atom(P) -> atom_to_binary(P); true -> P end || P <- Parts])).

table() ->
    types_and_reasons() ++ windows() ++ failed_starts() ++ stops() ++ groups() ++ nested() ++ commands() ++ sets()
        ++ listening().

types_and_reasons() ->
    [begin
         Steps = [at(0, [{Reason, <<"b">>}])],
         Word = case Reason of {shutdown, _} -> shutdown_x; R -> R end,
         tree(named([<<"type">>, Strategy, Type, Word]), Strategy, {1, 5},
              [child(<<"a">>), child(<<"b">>, Type), child(<<"c">>)], Steps)
     end || Strategy <- strategies(), Type <- [permanent, transient, temporary],
            Reason <- [normal, shutdown, {shutdown, x}, crash, kill]].

%% Crashes of one child, each so many seconds after the last.
windows() ->
    Cases = [{<<"intensity 0">>, {0, 5}, [0]},
             {<<"intensity at">>, {2, 5}, [0, 1]},
             {<<"intensity above">>, {2, 5}, [0, 1, 1]},
             {<<"intensity edge">>, {1, 3}, [0, 3]},
             {<<"intensity outside">>, {1, 3}, [0, 4]},
             {<<"intensity slides">>, {2, 4}, [0, 3, 2, 3, 2]},
             {<<"intensity slides and trips">>, {2, 4}, [0, 3, 2, 2]},
             {<<"intensity within one second">>, {3, 1}, [0, 0, 0, 0, 0]}],
    [tree(named([Name, S]), S, Limit, abc(), [at(G, [{crash, <<"b">>}]) || G <- Gaps])
     || {Name, Limit, Gaps} <- Cases, S <- strategies()]
        ++ [tree(<<"intensity counts all children">>, one_for_one, {2, 5}, abc(),
                 [at(0, [{crash, Id}]) || Id <- [<<"a">>, <<"b">>, <<"c">>]]),
            tree(<<"intensity does not count what is not restarted">>, one_for_one, {1, 5},
                 [child(<<"a">>, temporary), child(<<"b">>, transient), child(<<"c">>)],
                 [at(0, [{crash, <<"a">>}]), at(0, [{normal, <<"b">>}]), at(0, [{crash, <<"c">>}])])].

with(Id, Starts) -> (child(Id))#{starts := Starts}.

failed_starts() ->
    Fail = {fail, crash},
    lists:append(
      [[tree(named([<<"first start fails">>, S]), S, {3, 5},
             [child(<<"a">>), child(<<"b">>), with(<<"c">>, [Fail])], []),
        tree(named([<<"first start of a temporary child fails">>, S]), S, {3, 5},
             [child(<<"a">>), (child(<<"b">>, temporary))#{starts := [Fail]}], []),
        tree(named([<<"restart fails once">>, S]), S, {2, 5},
             [child(<<"a">>), with(<<"b">>, [ok, Fail]), child(<<"c">>)], [at(0, [{crash, <<"b">>}])]),
        tree(named([<<"restart fails too often">>, S]), S, {2, 5},
             [child(<<"a">>), with(<<"b">>, [ok, Fail, Fail, Fail]), child(<<"c">>)], [at(0, [{crash, <<"b">>}])]),
        tree(named([<<"restart of a sibling fails">>, S]), S, {2, 5},
             [child(<<"a">>), child(<<"b">>), with(<<"c">>, [ok, Fail]), child(<<"d">>)],
             [at(0, [{crash, <<"a">>}])]),
        tree(named([<<"restart fails while another exit waits">>, S]), S, {5, 5},
             [child(<<"a">>), with(<<"b">>, [ok, Fail]), child(<<"c">>)],
             [at(0, [{crash, <<"b">>}, {crash, <<"c">>}])]),
        tree(named([<<"restart of a transient child fails">>, S]), S, {3, 5},
             [child(<<"a">>), (child(<<"b">>, transient))#{starts := [ok, Fail, Fail]}],
             [at(0, [{crash, <<"b">>}])])]
       || S <- strategies()]).

stops() ->
    Stubborn = fun(Id) -> (child(Id))#{stop := ignore, shutdown := 1} end,
    lists:append(
      [[tree(named([<<"stop in time">>, S]), S, {1, 5}, [child(<<"a">>), (child(<<"b">>))#{stop := {late, 1}, shutdown := 2}], []),
        tree(named([<<"stop too late">>, S]), S, {1, 5}, [child(<<"a">>), Stubborn(<<"b">>), child(<<"c">>)], []),
        tree(named([<<"stop all too late">>, S]), S, {1, 5}, [Stubborn(<<"a">>), Stubborn(<<"b">>)], []),
        tree(named([<<"stop brutal">>, S]), S, {1, 5}, [(child(<<"a">>))#{shutdown := brutal_kill}, child(<<"b">>)], []),
        tree(named([<<"stop infinity">>, S]), S, {1, 5}, [(child(<<"a">>))#{shutdown := infinity, stop := {late, 2}}], []),
        tree(named([<<"stop with another reason">>, S]), S, {1, 5},
             [(child(<<"a">>))#{stop := other}, (child(<<"b">>))#{stop := quiet}], [])]
       || S <- strategies()]).

groups() ->
    Kinds = [{obey, 5}, {other, 5}, {obey, brutal_kill}, {ignore, 1}, {{takes, <<"b">>}, 5}],
    [tree(named([<<"group">>, S, <<"of a">>, Kind, Type, <<"at">>, Who]), S, {2, 8},
          [child(<<"a">>), child(<<"b">>), (child(<<"c">>, Type))#{stop := Stop, shutdown := Shutdown}, child(<<"d">>)],
          [at(0, [{crash, Who}])])
     || S <- [one_for_all, rest_for_one], {Stop, Shutdown} <- Kinds, Type <- [permanent, transient, temporary],
        Who <- [<<"a">>, <<"b">>],
        Kind <- [case {Stop, Shutdown} of
                     {{takes, _}, _} -> <<"taker">>;
                     {_, brutal_kill} -> <<"brutal">>;
                     _ -> atom_to_binary(Stop)
                 end]]
        ++ [tree(named([<<"two exits at once">>, S, A, B]), S, {3, 5}, abc(), [at(0, [{crash, A}, {crash, B}])])
            || S <- strategies(), A <- [<<"a">>, <<"b">>, <<"c">>], B <- [<<"a">>, <<"b">>, <<"c">>], A =/= B]
        ++ [tree(named([<<"three exits at once">>, S]), S, {N, 5}, abc(),
                 [at(0, [{crash, <<"b">>}, {kill, <<"a">>}, {normal, <<"c">>}])])
            || {S, N} <- [{one_for_one, 2}, {one_for_all, 1}, {rest_for_one, 2}]]
        ++ [tree(named([<<"finished comes back with its group">>, S]), S, {2, 5},
                 [child(<<"a">>), child(<<"b">>, transient), child(<<"c">>, temporary), child(<<"d">>)],
                 [at(0, [{normal, <<"b">>}]), at(0, [{normal, <<"c">>}]), at(0, [{crash, <<"a">>}])])
            || S <- strategies()].

nested() ->
    Inner = fun(Type, S) -> inner(<<"in">>, Type, S, {1, 5}, [child(<<"x">>), child(<<"y">>)]) end,
    Crash = at(0, [{crash, <<"in/x">>}]),
    [tree(named([<<"nested">>, S, Type]), S, {1, 5}, [child(<<"a">>), Inner(Type, one_for_one), child(<<"b">>)],
          [Crash, Crash, Crash, Crash])
     || S <- strategies(), Type <- [permanent, transient, temporary]]
        ++ [tree(named([<<"nested inner">>, S]), one_for_one, {0, 5}, [child(<<"a">>), Inner(permanent, S)],
                 [Crash, Crash]) || S <- strategies()]
        ++ [tree(<<"nested three deep">>, one_for_one, {1, 5},
                 [inner(<<"o">>, permanent, one_for_one, {0, 5},
                        [inner(<<"i">>, permanent, one_for_all, {0, 5}, [child(<<"x">>), child(<<"y">>)])])],
                 [at(0, [{crash, <<"o/i/x">>}]), at(0, [{crash, <<"o/i/y">>}])]),
            tree(<<"nested start fails">>, one_for_one, {1, 5},
                 [child(<<"a">>), inner(<<"in">>, permanent, one_for_one, {1, 5},
                                        [child(<<"x">>), with(<<"y">>, [{fail, crash}])])], []),
            tree(<<"nested restart fails">>, one_for_one, {2, 5},
                 [child(<<"a">>), inner(<<"in">>, permanent, one_for_one, {0, 5},
                                        [child(<<"x">>), with(<<"y">>, [ok, {fail, crash}])])],
                 [Crash]),
            tree(<<"nested goes with its group">>, one_for_all, {1, 5},
                 [child(<<"a">>), Inner(permanent, one_for_one), child(<<"b">>)], [at(0, [{crash, <<"b">>}])])].

commands() ->
    A = <<"a">>,
    One = fun(Name, Type, Steps) -> tree(Name, one_for_one, {3, 5}, [child(A, Type), child(<<"b">>)], Steps) end,
    Do = fun(Deeds) -> {0, Deeds} end,
    [One(<<"command remove">>, permanent, [Do([{terminate, A}, {delete, A}]), Do([{terminate, A}])]),
     One(<<"command renew">>, permanent, [Do([{terminate, A}, {restart, A}])]),
     One(<<"command restart of what runs">>, permanent, [Do([{restart, A}])]),
     One(<<"command delete of what runs">>, permanent, [Do([{delete, A}])]),
     One(<<"command terminate of a temporary">>, temporary, [Do([{terminate, A}]), Do([{restart, A}])]),
     One(<<"command restart of what has finished">>, transient, [at(0, [{normal, A}]), Do([{restart, A}])]),
     One(<<"command start of one more">>, permanent,
         [Do([{start, child(<<"c">>)}]), Do([{start, child(<<"c">>)}]), at(0, [{crash, <<"c">>}])]),
     One(<<"command renew spends no intensity">>, permanent,
         [Do([{terminate, A}, {restart, A}]) || _ <- lists:seq(1, 5)])].

set(Name, {Intensity, Period}, Template, Steps) ->
    #{name => Name, strategy => simple_one_for_one, intensity => Intensity, period => Period,
      template => Template, steps => Steps}.

join(Template, Id) -> {join, Template#{id => Id}}.

sets() ->
    [begin
         T = child(<<"t">>, Type),
         Word = case Reason of {shutdown, _} -> shutdown_x; R -> R end,
         set(named([<<"set">>, Type, Word]), {3, 5}, T,
             [{0, [join(T, <<"1">>), join(T, <<"2">>)]}, at(0, [{Reason, <<"1">>}])])
     end || Type <- [permanent, transient, temporary], Reason <- [normal, shutdown, {shutdown, x}, crash, kill]]
        ++ plain_sets(child(<<"t">>)).

plain_sets(T) ->
    Two = {0, [join(T, <<"1">>), join(T, <<"2">>)]},
    Fail = {fail, crash},
    Lone = fun(Name, Starts, Steps) ->
                   Failing = T#{starts := Starts},
                   set(Name, {3, 5}, Failing, [{0, [join(Failing, <<"1">>)]} | Steps])
           end,
    Stubborn = T#{stop := ignore, shutdown := 1},
    [set(<<"set leave">>, {1, 5}, T, [Two, {0, [{leave, <<"1">>}]}, {0, [{leave, <<"1">>}]}]),
     set(<<"set above its intensity">>, {1, 5}, T, [Two, at(0, [{crash, <<"1">>}]), at(0, [{crash, <<"2">>}])]),
     Lone(<<"set restart fails">>, [ok, Fail, Fail], [at(0, [{crash, <<"1">>}])]),
     Lone(<<"set first start fails">>, [Fail], []),
     set(<<"set stops side by side">>, {3, 5}, Stubborn, [{0, [join(Stubborn, <<"1">>), join(Stubborn, <<"2">>)]}])].

%% Where this supervisor and that of OTP differ, since this one listens while a child starts or stops, or looks
%% further back.
listening() ->
    [tree(<<"differs slow failures">>, one_for_one, {1, 1}, [with(<<"a">>, [ok | lists:duplicate(6, {slow_fail, 2})])],
          [at(0, [{crash, <<"a">>}])]),
     tree(<<"differs slow starts">>, one_for_one, {1, 1}, [with(<<"a">>, lists:duplicate(4, {slow, 2}))],
          [at(0, [{crash, <<"a">>}]), at(0, [{crash, <<"a">>}]), at(0, [{crash, <<"a">>}])]),
     tree(<<"differs slow sibling">>, one_for_all, {1, 1},
          [with(<<"a">>, [ok | lists:duplicate(4, {slow, 2})]), with(<<"b">>, [ok | lists:duplicate(3, {fail, crash})])],
          [at(0, [{crash, <<"b">>}])]),
     tree(<<"differs normal failure">>, one_for_one, {3, 5},
          [child(<<"a">>), (child(<<"b">>, transient))#{starts := [ok, {fail, normal}]}], [at(0, [{crash, <<"b">>}])]),
     tree(<<"differs ignore">>, one_for_one, {3, 5}, [child(<<"a">>), with(<<"b">>, [ignore]), child(<<"c">>)], []),
     tree(<<"ignore of a transient child">>, one_for_one, {3, 5},
          [child(<<"a">>), (child(<<"b">>, transient))#{starts := [ignore]}, child(<<"c">>)], [])].

%% ---- random scenarios ----

pick(List) -> lists:nth(rand:uniform(length(List)), List).
maybe_so(Percent) -> rand:uniform(100) =< Percent.

ids(N) -> lists:sublist([<<"a">>, <<"b">>, <<"c">>, <<"d">>], N).

random_trees() ->
    [begin
         Ids = ids(rand:uniform(4)),
         Limit = {rand:uniform(5) - 1, rand:uniform(5)},
         tree(named([<<"random">>, integer_to_binary(I)]), pick(strategies()), Limit,
              [random_child(Id, Ids) || Id <- Ids], [random_step(Ids) || _ <- lists:seq(1, 2 + rand:uniform(6))])
     end || I <- lists:seq(1, ?RANDOM_TREES)].

random_child(Id, Ids) ->
    Type = pick([permanent, permanent, permanent, transient, temporary]),
    {Stop, Shutdown} = pick([{obey, 5}, {obey, 5}, {obey, 5}, {obey, brutal_kill}, {obey, infinity}, {other, 5},
                             {quiet, 5}, {ignore, 1}, {{late, 1}, 2}, {{takes, pick(Ids)}, 5}]),
    Stop1 = case Stop of {takes, Id} -> obey; _ -> Stop end,
    (child(Id, Type))#{stop := Stop1, shutdown := Shutdown, starts := random_starts()}.

%% The first start mostly succeeds, or there would be little to see.
random_starts() ->
    First = case maybe_so(3) of true -> {fail, crash}; false -> ok end,
    case maybe_so(60) of
        true -> [];
        false -> [First | [case maybe_so(40) of true -> {fail, crash}; false -> ok end || _ <- lists:seq(1, 6)]]
    end.

random_step(Ids) ->
    Gap = pick([0, 0, 0, 1, 1, 2, 3, 5]),
    Victims = lists:usort([pick(Ids) || _ <- lists:seq(1, pick([1, 1, 1, 2, 3]))]),
    Shuffled = [V || {_, V} <- lists:sort([{rand:uniform(), V} || V <- Victims])],
    at(Gap, [{pick([normal, shutdown, {shutdown, x}, crash, crash, crash, kill]), Id} || Id <- Shuffled]).

%% One exit at a time: what two supervisors do at once has no order to record. Where OTP takes a supervisor that
%% gave up for a normal end, this one does not: no transient ones here.
random_nested() ->
    [begin
         Limit = fun() -> {rand:uniform(3) - 1, 1 + rand:uniform(4)} end,
         Inside = [(random_child(Id, [Id]))#{id := Id} || Id <- [<<"x">>, <<"y">>]],
         Children = [random_child(<<"a">>, [<<"a">>]),
                     inner(<<"in">>, pick([permanent, permanent, temporary]), pick(strategies()), Limit(), Inside),
                     random_child(<<"b">>, [<<"b">>])],
         Steps = [at(pick([0, 0, 1, 2]), [{pick([normal, crash, crash, kill]), pick([<<"a">>, <<"in/x">>, <<"in/y">>, <<"in/x">>])}])
                  || _ <- lists:seq(1, 8)],
         tree(named([<<"random nested">>, integer_to_binary(I)]), pick(strategies()), Limit(), Children, Steps)
     end || I <- lists:seq(1, ?RANDOM_NESTED)].

%% One child under a supervisor of its own: when that gives up, a set parks the child.
random_alone() ->
    [begin
         Limit = {rand:uniform(5) - 1, rand:uniform(5)},
         Starts = case random_starts() of [] -> []; [_ | More] -> [ok | More] end,
         tree(named([<<"alone">>, integer_to_binary(I)]), one_for_one, Limit,
              [(child(<<"a">>, pick([permanent, permanent, transient])))#{starts := Starts}],
              [random_step([<<"a">>]) || _ <- lists:seq(1, 8)])
     end || I <- lists:seq(1, ?RANDOM_ALONE)].

random_sets() ->
    [begin
         Type = pick([permanent, transient, temporary]),
         T = child(<<"t">>, Type),
         Ids = [integer_to_binary(K) || K <- lists:seq(1, 5)],
         Joins = {0, [join(T, Id) || Id <- Ids]},
         Steps = [case maybe_so(25) of
                      true -> {pick([0, 1]), [{leave, pick(Ids)}]};
                      false -> random_step(Ids)
                  end || _ <- lists:seq(1, 6)],
         set(named([<<"set random">>, integer_to_binary(I)]), {1000, 1}, T, [Joins | Steps])
     end || I <- lists:seq(1, ?RANDOM_SETS)].
